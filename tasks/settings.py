"""Facts of an environment: where things are and how long to wait. Facts of a model are in its model.toml."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Read from the environment (prefix `RATCHET_`) whenever it is made, never at import; tests pass their own."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_", extra="forbid", frozen=True)

    project: Path = Field(Path(), description="Folder that holds bentos/ and expectations/.")
    home: Path = Field(Path(".ratchet"), description="Everything this installation writes.")
    store_url: str = Field("", description="fsspec URL of the store; empty: <home>/store.")
    ledger_url: str = Field("", description="SQLAlchemy URL of the ledger; empty: SQLite in <home>.")
    host: str = Field("127.0.0.1", description="Address that every server binds to.")
    ui_port: int = Field(4200, ge=1, le=65535, description="Port of the Prefect server and its UI.")
    reports_port: int = Field(4201, ge=1, le=65535, description="Port that serves Evidently's own reports.")
    endpoint_port: int = Field(3000, ge=1, le=65535, description="Port of the first model's endpoint; the next models follow.")
    work_pool: str = Field("local", description="Prefect work pool that runs the flows.")
    lease_seconds: float = Field(900, gt=0, description="How long an attempt at a decision may go on before another one may start.")
    max_attempts: int = Field(3, ge=1, description="Attempts at one decision before it is closed as failed.")
    reconcile_seconds: int = Field(60, ge=5, description="How often the reconcile flow looks for what never ended.")
    monitor_seconds: int = Field(300, ge=5, description="How often each model's monitor flow looks for closed windows.")
    ready_seconds: float = Field(60, gt=0, description="How long a new server generation may take to be ready.")
    drain_seconds: float = Field(8, gt=0, description="How long an old generation keeps idle connections; above clients' keep-alive expiry (httpx: 5 s).")
    max_skew_seconds: float = Field(300, ge=0, description="How far ahead of the wall clock a request's event time may be.")
    fsync: bool = Field(False, description="Flush each log line to the disk before its reply leaves.")
    predict_key: SecretStr = Field(SecretStr(""), description="Key for /predict; empty: none is asked.")
    feedback_key: SecretStr = Field(SecretStr(""), description="Key for /feedback; empty: none is asked.")

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
    def serving(self) -> Path:
        """Folder of the local target: desired state, control socket, fetched bentos."""
        return self.root / "serving"

    @property
    def inbox(self) -> Path:
        """Folder where replayed batches arrive as files."""
        return self.root / "inbox"

    @property
    def ui_url(self) -> str:
        """Address of the Prefect UI that links should open."""
        return f"http://{self.host}:{self.ui_port}/v2"

    @property
    def api_url(self) -> str:
        """Address of the Prefect API."""
        return f"http://{self.host}:{self.ui_port}/api"
