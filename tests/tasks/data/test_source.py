"""Raw rows come from every kind of source the same, and what cannot be read says why."""

import gzip
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest

from tasks.data.source import batch_name, content_name, following, period, read
from tasks.errors import SourceError, SpecError
from tasks.spec import DatasetSpec

Make = Callable[..., DatasetSpec]
JANUARY = "at,id,km\n2013-01-02T10:00:00,a,1.5\n2013-01-01T10:00:00,b,\n2013-02-01T00:00:00,c,2\n"


def day(number: int, month: int = 1) -> pd.Timestamp:
    return pd.Timestamp(2013, month, number)


@pytest.mark.parametrize(
    ("cadence", "batch", "start", "end", "after"),
    [
        ("month", "2013-12", datetime(2013, 12, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), "2014-01"),
        ("month", "2013-01", datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC), "2013-02"),
        ("week", "2013-W05", datetime(2013, 1, 28, tzinfo=UTC), datetime(2013, 2, 4, tzinfo=UTC), "2013-W06"),
        ("week", "2020-W53", datetime(2020, 12, 28, tzinfo=UTC), datetime(2021, 1, 4, tzinfo=UTC), "2021-W01"),
        ("day", "2013-01-31", datetime(2013, 1, 31, tzinfo=UTC), datetime(2013, 2, 1, tzinfo=UTC), "2013-02-01"),
    ],
)
def test_names_periods_and_followers_agree(dataset: Make, cadence: str, batch: str, start: datetime, end: datetime, after: str) -> None:
    spec = dataset(period=cadence)

    assert period(spec, batch) == (start, end)
    assert batch_name(spec, start) == batch
    assert following(spec, batch) == after


@pytest.mark.parametrize(
    ("cadence", "batch"), [("month", "2013-1"), ("month", "2013-13"), ("week", "2013-W54"), ("day", "2013-02-30"), ("all", "2013-01"), ("month", "all")]
)
def test_a_name_that_no_batch_can_have_is_refused(dataset: Make, cadence: str, batch: str) -> None:
    with pytest.raises(SourceError, match=batch):
        period(dataset(period=cadence), batch)


def test_nothing_follows_a_batch_of_everything(dataset: Make) -> None:
    with pytest.raises(SourceError, match="no batch follows"):
        following(dataset(period="all"), "all-0123abcd")


def test_a_csv_gives_the_rows_of_the_period_in_order_with_their_event_time(dataset: Make, folder: Path) -> None:
    (folder / "rides.csv").write_text(JANUARY)

    frame = read(dataset(source="rides.csv"), "2013-01")

    assert list(frame["id"]) == ["b", "a"]
    assert list(frame["event_time"]) == [day(1) + pd.Timedelta(hours=10), day(2) + pd.Timedelta(hours=10)]
    assert frame["event_time"].dtype == "datetime64[ns]"
    assert frame["at"].equals(frame["event_time"].rename("at"))


def test_types_of_a_csv_are_the_narrowest_that_hold_every_value_and_codes_stay_text(dataset: Make, folder: Path) -> None:
    (folder / "rides.csv").write_text("at;zip;count;km;paid;empty;word\n2013-01-01; 02139;1; 1.5;true;;x\n2013-01-02;10001;2;;False;NA;1\n")

    frame = read(dataset(source="rides.csv"), "2013-01")

    assert frame["zip"].str.strip().tolist() == ["02139", "10001"]
    assert [str(frame[c].dtype) for c in ("count", "km", "paid", "empty", "word")] == ["int64", "float64", "bool", "float64", "object"]


@pytest.mark.parametrize(
    "times",
    [
        ("2013-01-01T02:00:00+02:00", "2013-01-02 00:00"),
        ("2013-01-01T00:00:00Z", "2013-01-02T00:00:00.000Z"),
        ("1/1/2013 12:00 AM", "1/2/2013 12:00 AM", "1/15/2013 12:00 AM"),
        ("01.01.2013", "02.01.2013", "15.01.2013"),
        ("1356998400", "1357084800"),
        ("1356998400000", "1357084800000"),
        ("20130101", "20130102"),
    ],
)
def test_times_are_read_in_every_unambiguous_form_as_utc_without_a_zone(dataset: Make, folder: Path, times: tuple[str, ...]) -> None:
    (folder / "rides.csv").write_text("at,n\n" + "".join(f"{time},{n}\n" for n, time in enumerate(times)))

    frame = read(dataset(source="rides.csv"), "2013-01")

    assert frame["event_time"].tolist()[:2] == [day(1), day(2)]


def test_without_a_time_column_the_number_of_a_row_is_its_time_across_files(dataset: Make, folder: Path) -> None:
    (folder / "a.csv").write_text("x\n1\n2\n")
    (folder / "b.csv").write_text("x\n3\n")

    frame = read(dataset(source="*.csv", time="", period="all"), "all")

    assert frame["x"].tolist() == [1, 2, 3]
    assert frame["event_time"].tolist() == [pd.Timestamp(n, unit="s") for n in range(3)]


def test_of_a_glob_the_files_named_after_the_batch_are_read_and_no_others(dataset: Make, folder: Path) -> None:
    (folder / "rides-2013-01.csv").write_text("at,id\n2013-01-01,a\n")
    (folder / "rides-2013-02.csv").write_text("this,is,ragged\n1\n")

    assert read(dataset(source="rides-*.csv"), "2013-01")["id"].tolist() == ["a"]


def test_a_file_handed_over_replaces_the_source_whatever_its_packing(dataset: Make, folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "handed.csv.gz"
    packed.write_bytes(gzip.compress(JANUARY.encode()))

    assert read(dataset(source="nothing.csv"), "2013-01", packed.as_uri())["id"].tolist() == ["b", "a"]


def test_a_batch_that_was_read_and_written_reads_the_same_again(dataset: Make, folder: Path, tmp_path: Path) -> None:
    (folder / "rides.csv").write_text(JANUARY)
    spec = dataset(source="rides.csv")
    frame = read(spec, "2013-01")
    frame.to_parquet(tmp_path / "batch.parquet", index=False)

    assert read(spec, "2013-01", str(tmp_path / "batch.parquet")).equals(frame)


def test_a_parquet_file_keeps_its_types_loses_zones_and_decimals_and_gives_back_its_index(dataset: Make, folder: Path) -> None:
    rows = pd.DataFrame(
        {"at": pd.to_datetime(["2013-01-01T12:00"]).tz_localize("America/New_York"), "fare": [Decimal("1.50")], "seen": pd.to_datetime(["2013-01-01"]).date}
    )
    rows.set_index(pd.Index([7], name="id")).to_parquet(folder / "rides.parquet")

    frame = read(dataset(source="rides.parquet"), "2013-01")

    assert frame["event_time"].tolist() == [day(1) + pd.Timedelta(hours=17)]
    assert (frame["fare"].tolist(), frame["id"].tolist(), str(frame["seen"].dtype)[:10]) == ([1.5], [7], "datetime64")


def test_sql_gives_the_rows_of_the_period(dataset: Make, folder: Path) -> None:
    with sqlite3.connect(folder / "rides.db") as connection:
        connection.execute("create table rides (at text, id text)")
        connection.executemany("insert into rides values (?, ?)", [("2013-01-01", "a"), ("2013-01-31T23:59", "b"), ("2013-02-01 00:00:00", "c")])

    frame = read(dataset(source=f"sqlite:///{folder}/rides.db", query="select * from rides where at >= :start and at < :end"), "2013-01")

    assert frame["id"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://joe:secret@127.0.0.1:1/rides", "nosql://joe:secret@host/rides", "postgresql://joe:secret@host:port/rides"]
)
def test_a_database_that_gives_nothing_says_so_without_its_password(dataset: Make, url: str) -> None:
    with pytest.raises(SourceError, match="the database gave no rows") as caught:
        read(dataset(source=url, query="select 1"), "2013-01")

    assert "secret" not in str(caught.value)


def test_an_authors_load_function_gives_the_rows_of_the_period(dataset: Make, folder: Path) -> None:
    (folder / "source.py").write_text(
        "import pandas as pd\n\ndef load(start, end):\n    return pd.DataFrame({'at': pd.date_range(start, end, freq='D'), 'x': 1})\n"
    )

    frame = read(dataset(), "2013-01")

    assert (len(frame), frame["event_time"].max()) == (31, day(31))


def test_a_column_of_several_types_becomes_text_so_that_it_can_be_kept(dataset: Make, folder: Path) -> None:
    (folder / "source.py").write_text("import pandas as pd\n\ndef load(start, end):\n    return pd.DataFrame({'at': [start] * 3, 'x': [1, 'two', None]})\n")

    assert read(dataset(), "2013-01")["x"].tolist() == ["1", "two", None]


@pytest.mark.parametrize(
    ("name", "data", "found"),
    [
        ("rides.csv", b"", "is empty"),
        ("rides.csv", b"at,id\n", "a header and no rows"),
        ("rides.csv", b"\n\n\n", "no header"),
        ("rides.csv", b"at,id\n2013-01-01,caf\xe9\n", "not UTF-8 text: line 2 holds the byte 0xe9"),
        ("rides.csv", b"at,id,km\n2013-01-01,a\n2013-01-01,a,1,2\n", r"ragged: the header \(row 1\) has 3 fields, row 2 has 2 fields, row 3 has 4 fields"),
        ("rides.csv", b'at,id\n2013-01-01,"a\n2013-01-02,b\n', "a quote that is never closed"),
        ("rides.csv", b"at,id,id\n2013-01-01,a,b\n", "a column more than once: 'id'"),
        ("rides.csv", b"att,id\n2013-01-01,a\n", "no time column 'at' .*Did you mean 'att'"),
        ("rides.csv", b"at,id\n2013-01-01,a\nsoon,b\n,c\n", "2 of 3 values .* row 2 'soon', row 3 is empty"),
        ("rides.csv", b"at,id\n01/02/2013,a\n03/04/2013,b\n", "day and month cannot be told apart"),
        ("rides.csv", b"at,id\n17,a\n18,b\n", "no Unix times"),
        ("rides.csv", b"at,id\n2014-01-01,a\n", "none of its 1 rows lies in 2013-01-01 to 2013-02-01"),
        ("rides.csv", b"at,event_time\n2013-01-01,2012-01-01\n", "a column `event_time` of its own"),
        ("rides.parquet", b"at,id\n2013-01-01,a\n", "no Parquet file"),
        ("rides.parquet", b"PAR1 and then nothing of the kind PAR1", "no Parquet file"),
        ("rides.csv.gz", b"at,id\n2013-01-01,a\n", "cannot be opened"),
        ("rides.csv.zip", b"at,id\n2013-01-01,a\n", "cannot be opened"),
    ],
)
def test_what_cannot_be_read_says_what_was_found(dataset: Make, folder: Path, name: str, data: bytes, found: str) -> None:
    (folder / name).write_bytes(data)

    with pytest.raises(SourceError, match=found):
        read(dataset(source=name), "2013-01")


@pytest.mark.parametrize(
    ("source", "found"),
    [("nothing.csv", "there is no file"), ("no*.csv", "there is no file"), (".", "is a folder"), ("s3://bucket/rides.csv", "cannot be opened")],
)
def test_a_place_without_a_file_is_named(dataset: Make, source: str, found: str) -> None:
    with pytest.raises(SourceError, match=found):
        read(dataset(source=source), "2013-01")


def test_files_with_different_columns_are_not_joined(dataset: Make, folder: Path) -> None:
    (folder / "a.csv").write_text("at,x\n2013-01-01,1\n")
    (folder / "b.csv").write_text("at,y\n2013-01-01,1\n")

    with pytest.raises(SourceError, match=r"differ in the columns \['x', 'y'\]"):
        read(dataset(source="*.csv"), "2013-01")


@pytest.mark.parametrize(
    ("body", "found"), [("raise OSError('no wire')", "source.py failed .*no wire"), ("return [1]", "gave a list"), ("return pd.DataFrame()", "no rows")]
)
def test_an_authors_load_function_that_fails_makes_the_batch_unreadable(dataset: Make, folder: Path, body: str, found: str) -> None:
    (folder / "source.py").write_text(f"import pandas as pd\n\ndef load(start, end):\n    {body}\n")

    with pytest.raises(SourceError, match=found):
        read(dataset(), "2013-01")


@pytest.mark.parametrize(("text", "found"), [("def load(:", "does not import"), ("x = 1", "no function load"), (None, "no `source`")])
def test_a_source_file_that_is_wrong_is_the_folders_error_not_the_batchs(dataset: Make, folder: Path, text: str | None, found: str) -> None:
    if text is not None:
        (folder / "source.py").write_text(text)

    with pytest.raises(SpecError, match=found):
        read(dataset(), "2013-01")


def test_a_database_without_a_query_is_the_folders_error(dataset: Make) -> None:
    with pytest.raises(SpecError, match="needs `query`"):
        read(dataset(source="postgresql://db/rides"), "2013-01")


def test_the_content_names_a_batch_of_everything(dataset: Make, folder: Path) -> None:
    (folder / "rides.csv").write_text(JANUARY)
    spec = dataset(source="rides.csv", period="all")
    frame = read(spec, "all")

    assert content_name(frame) == content_name(read(spec, content_name(frame)))
    assert content_name(frame) != content_name(frame.iloc[1:])
