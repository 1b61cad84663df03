"""The BentoML service of a model, made from its model.toml. BentoML packages and hosts it, `Endpoint` answers, `Guard` stands before both."""

import gc
import json
import logging
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import bentoml
from bentoml import Service

from bentos.runtime.child import served
from bentos.runtime.contract import Contract
from bentos.runtime.endpoint import Endpoint
from bentos.runtime.guards import Guard
from bentos.runtime.place import Place
from bentos.runtime.rows import FeedbackResponse, Models

ARTEFACT = "artefact"  # alias of the bento's own model, resolved by bento.yaml to one exact tag
log = logging.getLogger(__name__)


class GuardedService(Service[Any]):  # type: ignore[misc]  # bentoml has no types
    """A BentoML service behind `Guard`, whoever hosts it: `bentoml serve` and Ratchet's host both call `to_asgi`."""

    endpoint: Endpoint | None = None

    def to_asgi(self, is_main: bool = True) -> Any:
        """BentoML's app inside the guard."""
        return Guard(super().to_asgi(is_main), lambda: self.endpoint)

    def on_load_bento(self, bento: bentoml.Bento) -> None:
        """Keep the bento's code importable, here and in the child that opens a pickle when the service is made; refuse code from elsewhere.

        Raises:
            ImportError: `bentos` had been imported before from another place.
        """
        super().on_load_bento(bento)
        home, found = Path(bento.path).resolve() / "src", Path(sys.modules[self.inner.__module__].__file__ or "").resolve()
        if not found.is_relative_to(home):
            raise ImportError(f"{bento.tag} would run code of {found}, not its own: start the process with PYTHONPATH={home}")
        sys.path.insert(0, str(home))


def service_of(model_toml: Path) -> GuardedService:
    """The service of the model whose folder holds `model_toml`, named as the folder."""
    contract = Contract.load(model_toml)
    serving = tomllib.loads(model_toml.read_text()).get("serving", {})
    sample = model_toml.with_name("sample.json")
    models = Models(contract, serving.get("max_rows", 1_000), json.loads(sample.read_text())["rows"][:2] if sample.exists() else ())
    request, response, labels = models.request, models.response, models.feedback

    class ModelService:
        def __init__(self) -> None:
            self.endpoint = service.endpoint = Endpoint(served(Path(bentoml.models.get(ARTEFACT).path)), models, Place.of(os.environ))

        @bentoml.on_startup  # type: ignore[untyped-decorator]
        def warm_up(self) -> None:
            """BentoML calls it before the first request."""
            self.endpoint.warm_up()
            gc.collect()
            gc.freeze()  # what is loaded stays: a full collection over it costs 80 ms at p99
            if self.endpoint.place.log is None:
                log.warning("RATCHET_LOG is not set: %s keeps no prediction log", contract.name)

        @bentoml.on_shutdown  # type: ignore[untyped-decorator]
        def shut_down(self) -> None:
            """BentoML calls it after the last request."""
            self.endpoint.close()

        @bentoml.api  # type: ignore[untyped-decorator]
        async def predict(self, body: request, /) -> response:  # type: ignore[valid-type]  # made from the contract
            """Answer 1 to max_rows rows. Each answer has an id: send it back with the outcome to /feedback."""
            return models.response.model_validate(self.endpoint.answer(body))

        @bentoml.api  # type: ignore[untyped-decorator]
        async def feedback(self, body: labels, /) -> FeedbackResponse:  # type: ignore[valid-type]  # made from the contract
            """Take the true outcomes of answered rows, late, repeated or out of order."""
            return self.endpoint.take_labels(body)

    ModelService.__module__ = f"bentos.{contract.name}.service"  # where BentoML looks for it
    ModelService.__doc__ = f"Predictions of {contract.name}."
    service: GuardedService = bentoml.service(
        name=contract.name,
        service_class=GuardedService,
        workers=1,  # a process is the unit that is started, drained and replaced
        threads=1,  # nothing of ours runs in BentoML's; `Guard` has its own
        envs=[{"name": "OMP_NUM_THREADS", "value": "1"}],  # more cost 4 to 8 times the throughput when cores are shared
        metrics={"enabled": False},  # ours have bounded labels, and BentoML's are wiped by the next server on the same home
        tracing={"excluded_urls": ".*"},
        logging={"access": {"enabled": False}},
    )(ModelService)
    return service
