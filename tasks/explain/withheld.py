"""What the prediction log withholds of an answered row, since it is personal: a person may give it again, and is held to its hash."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bentos.runtime.contract import Contract
from bentos.runtime.lines import PredictionLine, hash_of
from bentos.runtime.rows import request_model
from tasks.errors import RatchetError

HELD = {"hash": "only as a hash", "omit": "not at all"}


class WithheldError(RatchetError):
    """A row cannot be replayed, because the log does not hold all of it."""

    def __init__(self, line: PredictionLine, found: str, remedy: str) -> None:
        super().__init__(f"Row {line.id} of {line.model!r} cannot be replayed: {found}. {remedy}")


def withheld(line: PredictionLine, contract: Contract) -> dict[str, str]:
    """The features whose values the log does not hold, and how it holds them. Of a hashed one a null is known."""
    hidden = {name: feature.log for name, feature in contract.features.items() if name not in contract.logged}
    return {name: how for name, how in hidden.items() if how == "omit" or line.row.get(name) is not None}


def completed(line: PredictionLine, contract: Contract, given: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The row as it was sent: what the log holds, and what was given again.

    Args:
        given: Value of each feature that is withheld, and of no other.
        key: That of the hashes; empty: it is not here, and hashed values are not checked.

    Raises:
        WithheldError: features are missing or too many, a value cannot have been in a request, or is not the one that was hashed.
    """
    hidden = withheld(line, contract)
    if absent := hidden.keys() - given.keys():
        held = ", ".join(f"{name} {HELD[how]}" for name, how in hidden.items() if name in absent)
        remedy = f"What was answered, and by which version, says `ratchet why {line.id}`. Who has the values gives them with --row FILE, as a JSON object."
        raise WithheldError(line, f"the prediction log holds {held}, since model.toml says so", remedy)
    if extra := given.keys() - hidden.keys():
        raise WithheldError(line, f"{', '.join(sorted(extra))} was given and is not withheld", "Give the others only.")
    if not hidden:
        return line.row
    try:
        request: Any = request_model(contract, 1).model_validate({"rows": [line.row | dict(given)]})
    except ValidationError as err:
        wrong = "; ".join(f"{error['loc'][-1]}: {error['msg']}" for error in err.errors(include_input=False))
        raise WithheldError(line, f"what was given is no such row ({wrong})", "Give what was sent.") from None
    row: dict[str, Any] = request.rows[0]
    other = [name for name, how in hidden.items() if how == "hash" and key and hash_of(row[name], key.encode()) != line.row[name]]
    if other:
        raise WithheldError(
            line,
            f"{', '.join(other)} was given with another value than was sent, by its hash",
            "Give what was sent; if the key of the hashes was changed since, nobody can tell.",
        )
    return row
