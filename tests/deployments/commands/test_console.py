"""What each command begins with: where Prefect is, and a ledger that says why it cannot be read."""

import os

import pytest

from deployments.commands.console import history, ledger_exists, settings
from tasks.errors import LedgerError
from tasks.settings import Settings

PREFECT = ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_UI_URL", "PREFECT_SERVER_API_HOST", "PREFECT_SERVER_API_PORT", "PREFECT_CLI_COLORS")
ON_A_SERVER = "postgresql+psycopg://ratchet:hush@127.0.0.1:9/ratchet"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PREFECT, "PREFECT_LOGGING_COLORS"):
        monkeypatch.setenv(name, "")  # so that what a command sets is undone after the test
        monkeypatch.delenv(name)


def test_on_one_machine_prefect_is_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_UI_PORT", "4321")
    settings()

    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"


def test_on_a_cluster_prefect_is_where_people_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TARGET", "kubernetes")
    monkeypatch.setenv("RATCHET_PUBLIC_URL", "https://prefect.example")
    settings()

    assert os.environ["PREFECT_API_URL"] == "https://prefect.example/api"
    assert "PREFECT_SERVER_API_HOST" not in os.environ


def test_on_a_cluster_no_address_is_made_up_and_a_told_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TARGET", "kubernetes")
    settings()
    assert "PREFECT_API_URL" not in os.environ

    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.ratchet.svc:4200/api")
    monkeypatch.setenv("RATCHET_PUBLIC_URL", "https://prefect.example")
    settings()
    assert os.environ["PREFECT_API_URL"] == "http://prefect.ratchet.svc:4200/api"


def test_a_ledger_on_a_server_that_does_not_answer_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.ledger.database.PAUSES", (0.1,))  # else it is asked again for half a minute
    found = Settings(ledger_url=ON_A_SERVER)
    assert ledger_exists(found)

    with pytest.raises(LedgerError, match=r"postgresql\+psycopg://ratchet:\*\*\*@127.0.0.1:9/ratchet cannot be ") as caught:
        history(found)
    assert "hush" not in str(caught.value)
