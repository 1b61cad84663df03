"""The `ratchet` command. Each command imports what it needs when it runs, so that asking the ledger stays fast."""

import sys
from collections.abc import Callable

import typer

from deployments.commands import author, ledger, platform, runs
from deployments.commands.explain import explain
from deployments.commands.score import score_file
from deployments.commands.status import status
from deployments.commands.why import why
from tasks.errors import RatchetError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="The loop from the command line: ask the ledger, operate, run the platform, write a model.",
)

COMMANDS: dict[str, Callable[..., None]] = {
    # ask the ledger
    "status": status,
    "history": ledger.show_history,
    "live": ledger.show_live,
    "why": why,
    "explain": explain,
    "verify": ledger.verify,
    "models": ledger.models,
    "datasets": ledger.datasets,
    # operate
    "ingest": runs.ingest,
    "waive": runs.waive,
    "train": runs.train,
    "release": runs.release,
    "rollback": runs.rollback,
    "monitor": runs.monitor,
    "score-file": score_file,
    "pause": runs.pause,
    "resume": runs.resume,
    # the platform
    "up": platform.up,
    "down": platform.down,
    "deploy": platform.deploy,
    "demo": platform.demo,
    # write a model
    "new": author.new,
    "check": author.check,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run the command line; an error of ours is one line on stderr and exit code 2."""
    try:
        app()
    except RatchetError as err:
        print(f"ratchet: {err}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
