"""One installation: its settings and the three things they lead to. Made when asked for, so that importing a module does nothing."""

from dataclasses import dataclass
from typing import Self

from tasks.ledger.chain import Ledger
from tasks.project import Project
from tasks.settings import Settings
from tasks.store import Store


@dataclass(frozen=True)
class Installation:
    """Where the specs, the bytes and the record of an installation are."""

    settings: Settings
    project: Project
    store: Store
    ledger: Ledger

    @classmethod
    def of(cls, settings: Settings | None = None) -> Self:
        """The installation that the environment (or `settings`) describes."""
        settings = settings or Settings()
        return cls(settings, Project.of(settings), Store.of(settings), Ledger.of(settings))
