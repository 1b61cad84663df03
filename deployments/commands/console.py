"""What every command does: read settings and ledger with clear errors, and print plain text or JSON."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import BaseModel, ValidationError

from tasks.errors import LedgerError, PlatformError
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.ledger.chain import Entry

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for the run; the exit code is its outcome.")]


def settings() -> Settings:
    """Settings of this environment, which Prefect's client is told as well.

    Raises:
        PlatformError: a RATCHET_ variable is wrong; names each.
    """
    try:
        found = Settings()
    except ValidationError as err:
        wrong = "; ".join(f"RATCHET_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in err.errors())
        raise PlatformError(f"The environment is wrong: {wrong}", "Correct or unset it.") from err
    for name, value in _prefect_facts(found).items():
        os.environ.setdefault(name, value)  # in a pod they are set already
    return found


def _prefect_facts(found: Settings) -> dict[str, str]:
    """Where Prefect is. On a cluster that is told or unknown: an address of this machine would be somebody else's server."""
    from deployments.local.programs import prefect_facts

    if found.target == "local":
        return prefect_facts(found)
    found.root.mkdir(parents=True, exist_ok=True)  # Prefect makes its home, not the folder around it
    addresses = {"PREFECT_API_URL": found.api_url, "PREFECT_UI_URL": found.ui_url} if found.public_url else {}
    return {"PREFECT_HOME": str(found.root / "prefect"), "PREFECT_CLI_COLORS": "false", "PREFECT_LOGGING_COLORS": "false"} | addresses


def history(found: Settings) -> "list[Entry]":
    """Every row of the ledger; none when this installation has no ledger yet, and then none is made.

    Raises:
        LedgerError: it cannot be read.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from tasks.ledger.chain import Ledger

    if not ledger_exists(found):
        return []
    try:
        return Ledger.of(found).read()
    except (SQLAlchemyError, ValidationError) as err:
        raise LedgerError(
            f"The ledger {make_url(found.ledger).render_as_string(hide_password=True)} cannot be read: {str(err).splitlines()[0]}. `ratchet verify` names the row"
        ) from err


def ledger_exists(found: Settings) -> bool:
    """False when this installation has no ledger file yet; one on a server is there, or says itself that it is not."""
    return not found.ledger.startswith("sqlite:///") or Path(found.ledger.removeprefix("sqlite:///")).exists()


def show(value: object, as_json: bool, text: str) -> None:
    """Print the value as JSON, or the text."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False, default=str) if as_json else text)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def utc(moment: datetime | None) -> str:
    """A moment for people; empty when there is none."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
