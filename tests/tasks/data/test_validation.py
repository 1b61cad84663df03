"""A suite is loaded whole or not at all, and nothing that goes wrong with a batch can pass."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.data.findings import findings_markdown, findings_table
from tasks.data.suite import Expectation, Suite
from tasks.data.validation import load_suite, validate
from tasks.errors import SpecError
from tasks.ledger.rows import BatchRow, Finding

Make = Callable[..., Suite]
ROWS: dict[str, Any] = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}


def entry(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": severity}


def known(column: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return entry("column_values_to_not_be_null", severity, column=column, **kwargs)


def between(column: str, low: Any, high: Any, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    return entry("column_values_to_be_between", severity, column=column, min_value=low, max_value=high, **kwargs)


def rides(rows: int = 40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "km": np.linspace(1, 20, rows),
            "town": ["Aue", "Bern"] * (rows // 2),
            "driver": [f"driver {n}" for n in range(rows)],
            "at": pd.date_range("2013-01-01", periods=rows),
        }
    )


# broken data


def test_a_batch_that_is_what_its_suite_says_passes_and_other_columns_may_be_there(suite: Make) -> None:
    found = validate(
        rides(), suite(known("km"), between("km", 0, 50), known("town"), entry("column_values_to_be_in_set", column="town", value_set=["Aue", "Bern"]))
    )

    assert (found.blocked, found.findings, found.checked) == (False, (), 5)
    assert found.verdict_sentence == "all 5 expectations hold"


def test_a_critical_finding_blocks_and_says_what_was_seen_and_what_was_asked(suite: Make) -> None:
    found = validate(rides(), suite(known("km"), between("km", 0, 10)))

    (finding,) = found.findings
    assert found.blocked
    assert (finding.expectation, finding.column, finding.severity) == ("expect_column_values_to_be_between", "km", "critical")
    assert (finding.observed, finding.expected, len(finding.examples)) == ("52.5 % unexpected (21 of 40)", "0 to 10", 5)
    assert found.verdict_sentence == "1 of 3 expectations block: km values to be between: 52.5 % unexpected (21 of 40), expected 0 to 10"


def test_a_warning_is_told_and_does_not_block(suite: Make) -> None:
    found = validate(rides(), suite(known("km"), between("km", 0, 10, "warning")))

    assert not found.blocked
    assert [finding.severity for finding in found.findings] == ["warning"]
    assert found.verdict_sentence.startswith("1 of 3 expectations warn")


def test_a_missing_column_is_one_finding_that_names_the_column_it_was_renamed_to(suite: Make) -> None:
    found = validate(rides().rename(columns={"km": "kms"}), suite(known("km", "warning"), between("km", 0, 50, "warning"), known("town")))

    assert found.blocked
    assert [(f.column, f.severity, f.observed) for f in found.findings] == [("km", "error", "no such column, but one called 'kms'")]


def test_an_extra_column_blocks_only_when_the_suite_names_the_whole_set(suite: Make) -> None:
    frame = rides().assign(extra=1)

    assert not validate(frame, suite(known("km"))).blocked
    assert validate(frame, suite(entry("table_columns_to_match_set", column_set=["km", "town", "driver", "at"]))).blocked
    assert not validate(rides(), suite(entry("table_columns_to_match_set", column_set=["km", "town", "driver", "at"]))).blocked


def test_text_in_a_column_of_numbers_is_an_error_of_bounded_length_that_dumps_no_column(suite: Make) -> None:
    frame = rides().assign(km="nine kilometres")

    found = validate(frame, suite(known("km"), between("km", 0, 50, "warning"), entry("column_mean_to_be_between", "warning", column="km", min_value=0)))

    assert found.blocked
    assert [f.severity for f in found.findings] == ["error", "error"]
    assert all("nine kilometresnine" not in f.observed and len(f.observed) <= 200 for f in found.findings)


def test_a_column_without_values_blocks(suite: Make) -> None:
    found = validate(rides().assign(km=np.nan), suite(known("km", mostly=0.1), between("km", 0, 50)))

    assert [(f.expectation, f.observed) for f in found.findings] == [("expect_column_values_to_not_be_null", "100 % null (40 of 40)")]


@pytest.mark.parametrize("frame", [rides().iloc[:0], pd.DataFrame()])
def test_a_batch_without_rows_blocks(suite: Make, frame: pd.DataFrame) -> None:
    assert validate(frame, suite(known("km"), between("km", 0, 50))).blocked


def test_two_columns_of_one_name_block(suite: Make) -> None:
    frame = rides()

    assert validate(pd.concat([frame, frame[["km"]]], axis=1), suite(known("km"))).blocked


def test_values_that_no_library_expects_are_a_finding_and_no_crash(suite: Make) -> None:
    frame = rides().assign(km=[[1, 2]] * 40)

    found = validate(frame, suite(known("km"), between("km", 0, 50)))

    assert found.blocked
    assert {f.severity for f in found.findings} == {"error"}


def test_values_of_a_private_column_are_never_shown(suite: Make) -> None:
    demands = suite(
        known("driver"),
        entry("column_values_to_match_regex", column="driver", regex="^x"),
        entry("column_distinct_values_to_be_in_set", column="driver", value_set=["x"]),
    )

    shown = validate(rides(), demands).model_dump_json()
    hidden = validate(rides(), demands, private=["driver"])

    assert "driver 1" in shown
    assert hidden.blocked
    assert "driver 1" not in hidden.model_dump_json()


# a verdict does not depend on how it is computed


def test_a_projected_and_categorised_frame_gets_the_verdicts_that_great_expectations_gives_the_whole_one(suite: Make) -> None:
    import great_expectations as gx

    frame = rides()
    aue = {"type": "comparison", "column": {"name": "town"}, "operator": "==", "parameter": "Aue"}
    checks = [
        entry("column_values_to_be_in_set", column="town", value_set=["Aue"]),
        entry("column_values_to_not_be_in_set", column="town", value_set=["Aue"]),
        entry("column_values_to_match_regex", column="town", regex="^A"),
        entry("column_values_to_be_unique", column="driver"),
        entry("compound_columns_to_be_unique", column_list=["town", "driver"]),
        entry("column_unique_value_count_to_be_between", column="town", min_value=3),
        entry("column_values_to_be_between", column="km", min_value=3, row_condition=aue),
    ]
    of_strings = [entry("column_values_to_be_of_type", column="town", type_="str"), entry("column_value_lengths_to_be_between", column="town", min_value=4)]
    batch = gx.get_context(mode="ephemeral").data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")

    for demands in (suite(known("town"), known("driver"), known("km"), *checks), suite(known("town"), *of_strings)):
        whole = batch.get_batch({"dataframe": frame}).validate(gx.ExpectationSuite(name="s", expectations=[e.model_dump() for e in demands.expectations]))
        failed = sorted(result.expectation_config.type for result in whole.results if not result.success)
        assert sorted(finding.expectation for finding in validate(frame, demands).findings) == failed


def test_bounds_on_times_work_when_they_are_written_with_a_time(suite: Make) -> None:
    demands = suite(known("at"), between("at", "2013-01-01T00:00:00", "2013-01-31T00:00:00"))

    assert validate(rides(), demands).findings[0].observed == "22.5 % unexpected (9 of 40)"
    assert not validate(rides(20), demands).blocked


def test_a_quantile_expectation_passes_and_fails_and_can_be_recorded(suite: Make) -> None:
    demands = suite(
        known("km"), entry("column_quantile_values_to_be_between", column="km", quantile_ranges={"quantiles": [0.1, 0.9], "value_ranges": [[1, 5], [15, 20]]})
    )

    assert json.loads(validate(rides(), demands).model_dump_json())["findings"] == []
    assert validate(rides().assign(km=99.0), demands).findings[0].observed == "[99.0, 99.0]"


# broken suites that only a batch reveals


def test_a_minimum_above_the_maximum_blocks_even_as_a_warning(suite: Make) -> None:
    found = validate(rides(), suite(known("km"), between("km", 5, 1, "warning")))

    assert found.blocked
    assert (found.findings[0].severity, found.findings[0].observed) == ("error", "min_value cannot be greater than max_value")


@pytest.mark.parametrize(
    "condition",
    [
        {"row_condition": "kmm > 3", "condition_parser": "pandas"},
        {"row_condition": {"type": "comparison", "column": {"name": "kmm"}, "operator": ">", "parameter": 3}},
    ],
)
def test_a_misspelt_column_in_a_row_condition_blocks(suite: Make, condition: dict[str, Any]) -> None:
    found = validate(rides(), suite(known("km"), between("km", 0, 50, "warning", **condition)))

    assert found.blocked
    assert [f.severity for f in found.findings] == ["error"]


def test_a_row_condition_that_is_right_reaches_its_column(suite: Make) -> None:
    condition = {"type": "comparison", "column": {"name": "town"}, "operator": "==", "parameter": "Aue"}

    assert not validate(rides(), suite(known("km"), between("km", 0, 50, row_condition=condition))).blocked


def test_an_expectation_that_great_expectations_drops_blocks() -> None:
    made_by_hand = Suite(name="s", digest="0", expectations=(Expectation(type="expect_what_nobody_knows", kwargs={}), Expectation(**ROWS)))

    found = validate(rides(), made_by_hand)

    assert (found.blocked, found.findings[0].severity) == (True, "error")


# broken suites that the loader refuses


def problems(folder: Path, *entries: Any, **content: Any) -> str:
    path = folder / "raw.json"
    lines = ",\n".join(json.dumps(entry) for entry in (ROWS, *entries))
    path.write_text(
        f'{{"name": "rides_raw",\n"expectations": [\n{lines}\n]}}' if not content else json.dumps({"name": "rides_raw", "expectations": [ROWS]} | content)
    )
    with pytest.raises(SpecError) as caught:
        load_suite(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (
            entry("column_values_to_be_betwen", column="km", min_value=1),
            "line 5: expect_column_values_to_be_betwen there is no expectation of that type; did you mean 'expect_column_values_to_be_between'?",
        ),
        (between("km", 0, 1, "fatal"), "severity 'fatal' is unknown (known: critical, warning)"),
        (between("km", 0, 1, "info"), "severity 'info' is unknown"),
        ({**between("km", 0, 1), "severitty": "warning"}, "unknown key 'severitty'; did you mean 'severity'?"),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"column": "km", "min_value": 0, "severity": "warning"}}, "`severity` inside kwargs"),
        (between("km", 0, 1, foo=1), "foo: extra fields not permitted"),
        (entry("column_values_to_be_between", column="km"), "min_value and max_value cannot both be None"),
        (between("km", 0, 1, mostly=2), "mostly"),
        (entry("column_values_to_be_between", min_value=0), "column: field required"),
        (between("at", "2013-01-01", "2013-02-01T00:00:00"), "min_value '2013-01-01' cannot be compared with a time"),
        (between("at", "2013-01-01T00:00:00", "2013-02-01T00:00:00Z"), "max_value '2013-02-01T00:00:00Z' cannot be compared"),
        (entry("column_values_to_be_of_type", column="km", type_="object"), "checks for the type 'object'"),
        (entry("column_values_to_be_in_type_list", column="km", type_list=["str", "object"]), "checks for the type 'object'"),
        (entry("table_row_count_to_be_between", min_value={"$PARAMETER": "x"}), "uses $PARAMETER"),
        ({"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "select 1"}}, "works on a database only"),
        (between("town", 0, 1), "checks 'town', of which nothing checks the nulls"),
        (entry("column_pair_values_to_be_equal", column_A="km", column_B="town"), "checks 'town', of which nothing checks the nulls"),
        (entry("compound_columns_to_be_unique", column_list=["km", "town"]), "checks 'town', of which nothing checks the nulls"),
        (known("km"), "stands there twice"),
        ({"expectation_type": "expect_column_to_exist", "kwargs": {"column": "km"}}, "line 5: is no object with a `type` and `kwargs`"),
        ("expect_column_to_exist", "line 5: is no object with a `type` and `kwargs`"),
    ],
)
def test_the_loader_refuses_what_would_not_be_evaluated(folder: Path, wrong: Any, found: str) -> None:
    assert found in problems(folder, known("km"), wrong)


def test_the_loader_names_every_problem_with_its_line(folder: Path) -> None:
    told = problems(folder, known("km"), between("km", 0, 1, "fatal"), known("town"), entry("nothing", column="town"))

    assert "line 5: expect_column_values_to_be_between severity 'fatal'" in told
    assert "line 7: expect_nothing there is no expectation" in told


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"expectations": []}, "holds no expectations"),
        ({"expectations": {}}, "holds no expectations"),
        ({"name": "rides.raw"}, "a `name` without dots"),
        ({"expectation_suite_name": "rides"}, "unknown key 'expectation_suite_name'"),
        ({"expectations": [known("km")]}, "an empty batch would pass"),
        ({"expectations": [{**ROWS, "severity": "warning"}]}, "an empty batch would pass"),
        ({"expectations": [{**ROWS, "kwargs": {"min_value": 0}}]}, "an empty batch would pass"),
        ({"expectations": [{**ROWS, "kwargs": {"max_value": 9}}]}, "an empty batch would pass"),
    ],
)
def test_the_loader_refuses_a_suite_that_could_accept_nothing_at_all(folder: Path, content: dict[str, Any], found: str) -> None:
    assert found in problems(folder, **content)


@pytest.mark.parametrize(
    ("data", "found"), [(b"{", "is not valid JSON"), (b"[]", "is no JSON object"), (b"\xff", "is not valid JSON"), (None, "does not exist")]
)
def test_a_file_that_is_no_suite_is_named(folder: Path, data: bytes | None, found: str) -> None:
    path = folder / "raw.json"
    if data is not None:
        path.write_bytes(data)

    with pytest.raises(SpecError, match=f"raw.json: .*{found}"):
        load_suite(path)


def test_the_digest_is_that_of_the_file(folder: Path, suite: Make) -> None:
    assert suite(known("km")).digest != suite(known("town")).digest
    assert suite(known("km")).digest == suite(known("km")).digest


# words


def test_a_table_of_findings_shows_text_and_never_markup() -> None:
    finding = Finding(expectation="expect_x", column="a|b", severity="critical", observed="<script>*x*", expected="at\nmost 3", examples=("`1`", "[2](x)"))

    table = findings_table([finding])

    assert table.splitlines()[2] == r"| ❌ critical | a\|b | expect\_x | \<script\>\*x\* | at most 3 | \`1\`, \[2\](x) |"
    assert findings_table([]) == "Every expectation holds."
    assert findings_table([finding] * 60).endswith("… and 20 more.")


def test_a_page_of_batches_tells_each_verdict_and_reason() -> None:
    unread = BatchRow(dataset="rides", batch="2013-01", verdict="quarantined", reason="cannot be read")

    page = findings_markdown([unread, unread.model_copy(update={"verdict": "accepted", "reason": "", "rows": 1234, "ref": "x"})])

    assert page == "## rides 2013-01: quarantined\n\n0 rows\n\ncannot be read\n\n## rides 2013-01: accepted\n\n1,234 rows\n\nEvery expectation holds."
