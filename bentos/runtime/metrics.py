"""What /metrics shows of one server process. Every label has a bounded set of values: model, version, flag, code, reason."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector, disable_created_metrics, generate_latest

LATENCY = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)  # seconds; ONNX answers in 0.0001, scikit-learn in 0.005
DROPS = ("disconnected", "slow", "overloaded", "log")  # why a request is given up that may be answered when it is sent again as it is


class Metrics:
    """The meters of one model version, in a registry of their own. `child` gives the id of the process that scores, 0: there is none."""

    def __init__(self, model: str, version: str, flags: Iterable[str], child: Callable[[], int]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series and say when this process began
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        ProcessCollector("ratchet_model", child, registry=self.registry)  # the process of a pickled model; nothing of it while there is none
        PlatformCollector(registry=self.registry)
        labels = {"model": model, "version": version}
        names, registry = tuple(labels), self.registry
        self.predictions = Counter("ratchet_predictions", "Rows answered.", names, registry=registry).labels(**labels)
        self.feedback = Counter("ratchet_feedback", "Labels accepted.", names, registry=registry).labels(**labels)
        self.latency = Histogram("ratchet_request_seconds", "Body read until reply ready.", names, buckets=LATENCY, registry=registry).labels(**labels)
        self._errors = Counter("ratchet_errors", "Requests not answered, by error code.", (*names, "code"), registry=registry)
        flagged = Counter("ratchet_flags", "Answered rows with what training did not see.", (*names, "flag"), registry=registry)
        self._flags = {flag: flagged.labels(**labels, flag=flag) for flag in flags}
        dropped = Counter("ratchet_drops", "Requests given up for no fault of what they ask.", (*names, "reason"), registry=registry)
        self._drops = {reason: dropped.labels(**labels, reason=reason) for reason in DROPS}
        self._labels = labels

    def flag(self, name: str) -> None:
        """Count a flagged row."""
        self._flags[name].inc()

    def error(self, code: str) -> None:
        """Count a request that was not answered; it is a drop too when its code is a reason of one."""
        self._errors.labels(**self._labels, code=code).inc()
        if code in self._drops:
            self.drop(code)

    def drop(self, reason: str) -> None:
        """Count a request that was given up: its caller was gone or too slow, too many waited, or the log could not be written."""
        self._drops[reason].inc()

    def render(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)
