"""The training-side scikit-learn pipeline of a version, opened again.

It is a pickle, and opening one runs what is written in it. That happens here only, on the machine of the person who asks, never in
a server of an ONNX model; and only for bytes from the store whose sha256 is the one that the version's ledger row names.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from bentos.runtime.card import FILES, Card
from bentos.runtime.scoring import Scorer, SklearnScores
from tasks.errors import RatchetError
from tasks.ledger.rows import VersionRow
from tasks.store import Ref, Store


class ReplayError(RatchetError):
    """An answered row cannot be replayed."""

    def __init__(self, version: VersionRow, found: str, remedy: str) -> None:
        super().__init__(f"Version {version.version!r} of {version.model!r} cannot be replayed: {found}. {remedy}")


def open_pipeline(version: VersionRow, store: Store) -> tuple[Scorer, Scorer]:
    """The model that was served, and the training-side pipeline under the same card.

    Raises:
        StoreError: bytes are missing or changed; nothing was opened. ReplayError: the pipeline was not kept, or today's code cannot open it.
    """
    with TemporaryDirectory() as temporary:
        folder = store.get_tree(Ref.parse(version.artefact), Path(temporary) / "artefact")
        served, path = Scorer.load(folder) if version.format == "onnx" else None, folder / FILES["sklearn"]
        if version.pipeline:
            path.write_bytes(store.get(Ref.parse(version.pipeline)))
        elif not path.exists():
            raise ReplayError(version, "its pipeline was not kept, as in versions that were trained before pipelines were", "Train again.")
        card = Card.load(folder)
        try:
            trained = Scorer(card, SklearnScores(path, card.contract))
        except Exception as err:  # a pickle may fail in any way when the code that it names has changed
            sha = f"commit {version.commit.sha}" if version.commit else "the code that it was trained with"
            raise ReplayError(version, f"today's code does not open its pipeline ({type(err).__name__}: {err})", f"Check out {sha}.") from err
    return served or trained, trained
