"""Facts of an environment: where things are and how long to wait. Facts of a model are in its model.toml."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from bentos.runtime.place import CENTURY


class Settings(BaseSettings):
    """Read from the environment (prefix `RATCHET_`) whenever it is made, never at import; tests pass their own."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", extra="forbid", frozen=True)

    project: Path = Field(Path(), description="Folder that holds bentos/ and expectations/.")
    home: Path = Field(Path(".ratchet"), description="Everything this installation writes.")
    store_url: str = Field("", description="fsspec URL of the store; empty: <home>/store.")
    ledger_url: str = Field("", description="SQLAlchemy URL of the ledger; empty: SQLite in <home>.")
    log_url: str = Field("", description="fsspec URL that serving pods ship their log segments to; empty: they are read where they are written, in <home>/log.")
    report_url: str = Field("", description="fsspec URL of the long reports; empty: <home>/reports.")
    host: str = Field("127.0.0.1", description="Address that every server binds to.")
    ui_port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server and its UI.")
    reports_port: int = Field(4201, ge=1, le=65535, description="Port that serves Evidently's own reports.")
    endpoint_port: int = Field(3000, ge=1, le=65535, description="Port of the first model's endpoint; the next models follow.")
    public_url: str = Field("", description="Address of the Prefect server as people reach it; empty: this machine's, from host and ui_port.")
    public_reports_url: str = Field("", description="Address of the report server as people reach it; empty: this machine's.")
    target: Literal["local", "kubernetes"] = Field("local", description="Where releases are served and flow runs run.")
    namespace: str = Field("ratchet", description="Kubernetes: namespace of the platform and of flow runs.")
    serving_namespace: str = Field("ratchet-serving", description="Kubernetes: namespace of the endpoints.")
    flow_image: str = Field("", description="Kubernetes: image of flow runs, by digest or by an immutable tag.")
    serving_image: str = Field("", description="Kubernetes: image of serving pods, by digest or by an immutable tag.")
    endpoint_node_port: int = Field(0, ge=0, le=65535, description="Kubernetes: node port of slot 0's endpoint, the next slots follow; 0: endpoints have none.")
    log_bytes: int = Field(256 << 20, ge=1 << 20, description="Kubernetes: bytes of log a serving pod may hold unshipped; at that many it answers 503.")
    work_pool: str = Field("local", description="Prefect work pool that runs the flows.")
    lease_seconds: float = Field(900, gt=0, description="How long an attempt at a decision may go on before another one may start.")
    max_attempts: int = Field(3, ge=1, description="Attempts at one decision before it is closed as failed.")
    pending_seconds: float = Field(600, gt=0, description="How long a run may wait for its process or pod before it is called crashed.")
    reconcile_seconds: int = Field(60, ge=5, description="How often the reconcile flow looks for what never ended.")
    monitor_seconds: int = Field(300, ge=5, description="How often each model's monitor flow looks for closed windows.")
    ready_seconds: float = Field(60, gt=0, description="How long a new server generation may take to be ready.")
    drain_seconds: float = Field(8, gt=0, description="How long an old generation keeps idle connections; above clients' keep-alive expiry (httpx: 5 s).")
    max_skew_seconds: float = Field(300, ge=0, le=CENTURY, description="How far ahead of the wall clock a request's event time may be.")
    fsync: bool = Field(False, description="Flush each log line to the disk before its reply leaves.")
    predict_key: SecretStr = Field(SecretStr(""), description="Key for /predict; empty: none is asked.")
    feedback_key: SecretStr = Field(SecretStr(""), description="Key for /feedback; empty: none is asked.")
    hash_key: SecretStr = Field(SecretStr(""), description="Secret of the hashes in the prediction log; empty, on one machine: one is made in <home>.")

    @property
    def root(self) -> Path:
        """Absolute home folder."""
        return self.home.resolve()

    @property
    def store(self) -> str:
        """URL of the content-addressed store."""
        return self.store_url or f"file://{self.root / 'store'}"

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def logs(self) -> Path:
        """Folder of the prediction and feedback logs, one folder a model inside."""
        return self.root / "log"

    @property
    def reports(self) -> Path:
        """Folder of the long reports that the report server shows."""
        return self.root / "reports"

    @property
    def report_folder(self) -> str:
        """URL of the folder that the long reports are written to."""
        return self.report_url or f"file://{self.reports}"

    @property
    def reports_server_url(self) -> str:
        """Address of the report server as people reach it."""
        return self.public_reports_url or f"http://{self.host}:{self.reports_port}"

    @property
    def serving(self) -> Path:
        """Folder of the local target: desired state, control socket, fetched bentos."""
        return self.root / "serving"

    @property
    def inbox(self) -> str:
        """Fsspec URL where replayed batches arrive as files: beside a store that other machines reach, else in the home."""
        return f"{self.store_url}/inbox" if self.store_url else f"file://{self.root / 'inbox'}"

    @property
    def server_url(self) -> str:
        """Address of the Prefect server as people reach it."""
        return self.public_url or f"http://{self.host}:{self.ui_port}"

    @property
    def ui_url(self) -> str:
        """Address of the Prefect UI that links should open."""
        return f"{self.server_url}/v2"

    @property
    def api_url(self) -> str:
        """Address of the Prefect API."""
        return f"{self.server_url}/api"
