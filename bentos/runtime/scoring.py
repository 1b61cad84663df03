"""The one way to ask a model for scores: training, preflight and the service use the same code."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, Self

import numpy as np

from bentos.runtime.card import FILES, Card, Score, Seen
from bentos.runtime.contract import Contract
from bentos.runtime.lines import Answer

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]
SUMS = (b"LinearRegressor", b"LinearClassifier", b"Gemm", b"MatMul", b"SVM")  # ONNX Runtime adds up a lone row in another order than two or more
DTYPES = {"tensor(string)": np.dtype(object), "tensor(float)": np.dtype("float32"), "tensor(double)": np.dtype("float64")}


class Scores(Protocol):
    """What gives raw scores: (n,) numbers for binary and regression tasks, (n, k) in the model's own order for multiclass."""

    down: bool = False  # True while nothing can be scored

    def of_frame(self, frame: "pd.DataFrame") -> Array:
        """Scores of rows in the contract's form."""

    def of_rows(self, rows: Sequence[Row]) -> Array:
        """Scores of request rows; a null or missing feature is None or absent."""

    def child(self) -> int:
        """Id of the process that scores; 0: this one, unless a class says otherwise."""
        return 0

    def close(self) -> None:
        """End what runs outside of this process: nothing, unless a class says so."""
        return


class OnnxScores(Scores):
    """An ONNX graph on one thread, without pandas.

    An input of shape (n, k) takes the k features that the model's metadata lists under its name; one that is not there is a feature itself, of shape (n, 1).
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # one row takes microseconds; a second thread only costs
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs, listed = self.session.get_inputs(), self.session.get_modelmeta().custom_metadata_map
        columns = [json.loads(listed[put.name]) if put.name in listed else [put.name] for put in inputs]
        unknown = [put.name for put, names in zip(inputs, columns, strict=True) if put.type not in DTYPES or not contract.features.keys() >= set(names)]
        if unknown:
            raise ValueError(f"{path}: inputs {unknown} are no features of {contract.name!r}, or neither numbers nor text; export the model again")
        self.inputs = [(put.name, names, DTYPES[put.type]) for put, names in zip(inputs, columns, strict=True)]
        self.outputs = [self.session.get_outputs()[-1].name]  # a classifier gives label and probabilities, a regressor one output
        self.task = contract.task
        graph = path.read_bytes()
        self.sums = any(name in graph for name in SUMS)

    def of_frame(self, frame: "pd.DataFrame") -> Array:
        """See `Scores`."""
        return self._run({name: np.ascontiguousarray(frame[names].to_numpy(dtype)) for name, names, dtype in self.inputs})

    def of_rows(self, rows: Sequence[Row]) -> Array:
        """See `Scores`."""
        feed = {}
        for name, names, dtype in self.inputs:
            null = "" if dtype.hasobject else math.nan
            values = [null if (value := row.get(column)) is None else value for row in rows for column in names]
            feed[name] = np.array(values, dtype).reshape(len(rows), len(names))
        return self._run(feed)

    def _run(self, feed: dict[str, Array]) -> Array:
        alone = self.sums and len(next(iter(feed.values()))) == 1
        if alone:  # so that its score has the same bits, whoever else is in the request or the file
            feed = {name: values.repeat(2, axis=0) for name, values in feed.items()}
        found: Array = self.session.run(self.outputs, feed)[0][: 1 if alone else None]
        if self.task == "binary":
            return found[:, 1]
        return found if self.task == "multiclass" else found.reshape(-1)


class SklearnScores(Scores):
    """The fitted scikit-learn pipeline itself; its functions must import under the same path as in training. Servers keep it in a child process.

    Args:
        pickle: The file or its path. Opening it runs what is written in it.
    """

    def __init__(self, pickle: Path | BinaryIO, contract: Contract) -> None:
        import joblib

        self.pipeline = joblib.load(pickle)
        self.contract = contract

    def of_frame(self, frame: "pd.DataFrame") -> Array:
        """See `Scores`."""
        if self.contract.task == "regression":
            return np.asarray(self.pipeline.predict(frame)).reshape(-1)
        found = np.asarray(self.pipeline.predict_proba(frame))
        return found[:, 1] if self.contract.task == "binary" else found

    def of_rows(self, rows: Sequence[Row]) -> Array:
        """See `Scores`."""
        import pandas as pd

        return self.of_frame(self.contract.frame(pd.DataFrame(list(rows), columns=list(self.contract.features))))


class Scorer:
    """Scores, decisions and flags of one artefact."""

    def __init__(self, card: Card, scores: Scores) -> None:
        self.card = card
        self.scores = scores
        contract = card.contract
        columns = card.columns or tuple(sorted(contract.classes))
        self._order = [columns.index(name) if name in columns else -1 for name in contract.classes]
        self._in_order = self._order == list(range(len(columns)))
        seen = {name: (feature.type == "category", card.seen.get(name, Seen())) for name, feature in contract.features.items()}
        self._values = [(name, frozenset(known.values)) for name, (category, known) in seen.items() if category]
        self._ranges = [
            (name, math.inf if known.low is None else known.low, -math.inf if known.high is None else known.high)
            for name, (category, known) in seen.items()
            if not category
        ]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open an artefact folder in this process; a server uses `child.served`."""
        card = Card.load(folder)
        opened = OnnxScores if card.format == "onnx" else SklearnScores
        return cls(card, opened(folder / FILES[card.format], card.contract))

    def score(self, frame: "pd.DataFrame") -> Array:
        """Scores of a frame that has the contract's columns: (n,), or (n, k) in the order of `contract.classes`."""
        return self._ordered(self.scores.of_frame(self.card.contract.frame(frame)))

    def score_rows(self, rows: Sequence[Row]) -> list[Score]:
        """Scores of request rows, without pandas for ONNX. A score may be NaN; the caller says what that means."""
        found: list[Score] = self._ordered(self.scores.of_rows(rows)).tolist()
        return found

    def decide(self, score: Score) -> Answer:
        """The prediction that a score stands for."""
        if isinstance(score, list):
            return self.card.contract.classes[max(range(len(score)), key=score.__getitem__)]
        return score >= self.card.contract.threshold if self.card.contract.task == "binary" else score

    def close(self) -> None:
        """Score no more."""
        self.scores.close()

    @property
    def possible_flags(self) -> tuple[str, ...]:
        """Every flag that `flags` can give."""
        return tuple(f"unseen:{name}" for name, _ in self._values) + tuple(f"range:{name}" for name, _, _ in self._ranges)

    def flags(self, row: Row) -> list[str]:
        """What training did not see: `unseen:<feature>` for a category, `range:<feature>` for a number. Nulls are not flagged."""
        get = row.get
        found = [f"unseen:{name}" for name, known in self._values if (value := get(name)) and value not in known]
        return found + [f"range:{name}" for name, low, high in self._ranges if (number := get(name)) is not None and not low <= number <= high]

    def _ordered(self, scores: Array) -> Array:
        if scores.ndim == 1 or self._in_order:
            return scores
        padded = np.hstack([scores, np.zeros((len(scores), 1), scores.dtype)])  # column -1: a class that training never saw
        return padded[:, self._order]
