"""Handing over, against a real Prefect server. Runs are not executed here: their states are set through the API."""

from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_UI_URL,
    temporary_settings,
)
from prefect.states import Completed, Failed, Running
from prefect.utilities.callables import parameter_schema

from deployments.local.runs import newest_run
from tasks import artifact, handoff, prefect_api
from tasks.errors import ApiBusyError, PlatformError, UnknownNameError

NAME = "train/late"


def train(model: str, trials: int = 1) -> None: ...


@pytest.fixture(scope="module")
def client(prefect_client: SyncPrefectClient) -> Iterator[SyncPrefectClient]:
    """A server with the one deployment `train/late`."""
    schema = parameter_schema(train).model_dump()
    flow = prefect_client.create_flow_from_name("train")
    prefect_client.create_deployment(flow_id=flow, name="late", parameters={"model": "late"}, parameter_openapi_schema=schema, enforce_parameter_schema=True)
    with temporary_settings({PREFECT_UI_URL: "http://ui.example/v2"}):
        yield prefect_client


def set_state(client: SyncPrefectClient, run: str, state: object) -> None:
    client.set_flow_run_state(UUID(run), state, force=True)  # type: ignore[arg-type]


def test_a_started_run_has_the_parameters_and_tags_it_was_given(client: SyncPrefectClient) -> None:
    run = client.read_flow_run(UUID(handoff.start(NAME, {"trials": 3}, tags=["decision:late-1"])))

    assert run.parameters == {"model": "late", "trials": 3}
    assert "decision:late-1" in run.tags


def test_the_same_key_gives_the_same_run(client: SyncPrefectClient) -> None:
    first = handoff.start(NAME, {}, key="late-1:1")

    assert handoff.start(NAME, {}, key="late-1:1") == first
    assert handoff.start(NAME, {}, key="late-1:2") != first
    assert handoff.start(NAME, {}) != handoff.start(NAME, {})


def test_inside_a_flow_run_the_new_run_names_the_one_before_it_and_the_log_links_it(client: SyncPrefectClient, caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def giver() -> tuple[str, str]:
        from prefect.runtime import flow_run

        handoff.tag("decision:late-7")
        return str(flow_run.id), handoff.start(NAME, {})

    before, after = giver()

    assert f"after:{before}" in client.read_flow_run(UUID(after)).tags
    assert "decision:late-7" in client.read_flow_run(UUID(before)).tags
    assert f"Handed over to {NAME}: http://ui.example/v2/runs/flow-run/{after}" in caplog.text


def test_outside_a_flow_run_a_tag_goes_nowhere(client: SyncPrefectClient) -> None:
    handoff.tag("decision:late-7")

    assert not any(tag.startswith("after:") for tag in client.read_flow_run(UUID(handoff.start(NAME, {}))).tags)


def test_an_unknown_deployment_is_named_with_the_one_that_was_meant(client: SyncPrefectClient) -> None:
    with pytest.raises(UnknownNameError, match=r"there is no deployment 'train/lat'.*Did you mean 'train/late'"):
        handoff.start("train/lat", {})


def test_parameters_that_the_form_forbids_are_refused_with_the_reason(client: SyncPrefectClient) -> None:
    with pytest.raises(PlatformError, match=r"refuses to start 'train/late'.*trials"):
        handoff.start(NAME, {"trials": "many"})


def test_the_state_of_a_run_is_told(client: SyncPrefectClient) -> None:
    run = handoff.start(NAME, {})
    assert not handoff.state(run).final

    set_state(client, run, Failed(message="no rows"))

    assert handoff.state(run) == handoff.RunOutcome("FAILED", "Failed", "no rows")
    assert handoff.state(run).final
    assert not handoff.state(run).completed


def test_waiting_ends_with_the_run(client: SyncPrefectClient) -> None:
    run = handoff.start(NAME, {})
    set_state(client, run, Completed(message="done"))

    assert handoff.wait(run).completed


def test_waiting_ends_when_the_time_is_up_and_says_that_the_run_has_not(client: SyncPrefectClient) -> None:
    run = handoff.start(NAME, {})
    set_state(client, run, Running())

    outcome = handoff.wait(run, timeout_seconds=0)

    assert outcome.state_type == "RUNNING"
    assert not outcome.final


def test_a_key_is_unknown_then_alive_then_dead(client: SyncPrefectClient) -> None:
    assert handoff.state_of("late-9:1") == "unknown"

    run = handoff.start(NAME, {}, key="late-9:1")
    assert handoff.state_of("late-9:1") == "alive"

    set_state(client, run, Completed())
    assert handoff.state_of("late-9:1") == "dead"


def test_a_run_that_took_the_work_on_itself_counts_by_its_id(client: SyncPrefectClient) -> None:
    run = handoff.start(NAME, {})
    assert handoff.state_of("late-10:1", run) == "alive"

    set_state(client, run, Failed())
    assert handoff.state_of("late-10:1", run) == "dead"
    client.delete_flow_run(UUID(run))
    assert handoff.state_of("late-10:1", run) == "dead", "it was there; under the key nothing ever was"


def test_the_newest_run_for_a_decision_is_found_whoever_started_it(client: SyncPrefectClient) -> None:
    training = handoff.start(NAME, {}, tags=["decision:late-11"])
    handoff.start(NAME, {}, tags=["decision:late-12"])
    assert newest_run("late-11", besides=[training]) is None

    release = handoff.start(NAME, {}, tags=["decision:late-11", "after:a reconcile"])

    assert newest_run("late-11", besides=[training]) == release


def test_an_unknown_run_is_an_error(client: SyncPrefectClient) -> None:
    with pytest.raises(UnknownNameError, match="there is no flow run"):
        handoff.state("00000000-0000-0000-0000-000000000000")


def test_an_api_that_does_not_answer_is_a_clear_error() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(PlatformError, match=r"127.0.0.1:9/api does not answer.*`ratchet up`"):
        handoff.start(NAME, {})


def test_on_a_cluster_the_remedy_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_TARGET", "kubernetes")

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(PlatformError, match="Set RATCHET_PUBLIC_URL"):
        handoff.start("train/late", {})


def test_a_link_goes_where_people_reach_the_ui(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_PUBLIC_URL", "https://prefect.example")

    with temporary_settings({PREFECT_UI_URL: "http://prefect.ratchet.svc:4200"}):
        assert handoff.link("r1") == "https://prefect.example/v2/runs/flow-run/r1"


class Locked(BaseHTTPRequestHandler):
    """A server that asks for a key and takes only one."""

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["authorization"] == f"Basic {b64encode(b'ratchet:key').decode()}" else 401)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_missing_and_a_wrong_key_are_told_and_the_right_one_opens() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Locked)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_address[1]}/api"}):
            with pytest.raises(PlatformError, match="was given no PREFECT_API_AUTH_STRING"), prefect_api.connection():
                pass
            with temporary_settings({PREFECT_API_AUTH_STRING: "ratchet:guess"}):
                with pytest.raises(PlatformError, match=r"a wrong PREFECT_API_AUTH_STRING \(HTTP 401\)") as caught, prefect_api.connection():
                    pass
                assert "guess" not in str(caught.value)
            with temporary_settings({PREFECT_API_AUTH_STRING: "ratchet:key"}), prefect_api.connection() as client:
                assert client.hello().is_success
    finally:
        server.shutdown()
        server.server_close()


class Busy(BaseHTTPRequestHandler):
    """A server whose database is locked."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def test_a_busy_api_is_told_as_such_and_asked_again() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    Thread(target=server.serve_forever, daemon=True).start()
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        if len(asked) == 1:
            with prefect_api.connection() as busy:
                busy.read_flow_run(UUID(int=1))
        return len(asked)

    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        assert prefect_api.patiently(ask) == 2, "only ApiBusyError is asked again"
    server.shutdown()
    server.server_close()


def test_an_answer_after_a_busy_spell_is_the_answer() -> None:
    answers = iter([ApiBusyError("api", 503), "done"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, ApiBusyError):
            raise answer
        return answer

    assert prefect_api.patiently(ask) == "done"


def test_an_api_that_stays_busy_is_told_as_such_when_the_time_is_up() -> None:
    def ask() -> None:
        raise ApiBusyError("api", 503)

    with pytest.raises(ApiBusyError):
        prefect_api.patiently(ask, seconds=0)


def test_the_newest_page_under_a_key_is_the_one_that_was_published_last(client: SyncPrefectClient) -> None:
    assert artifact.newest("status") == ""

    for text in ("head `a`", "head `b`"):
        flow(artifact.publish, name="publish")("status", text, "")

    assert artifact.newest("status") == "head `b`"
