"""Raw data in: the period and name of a batch, and its rows from wherever the dataset's author says they are."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import fsspec
import pandas as pd
import sqlalchemy as sa

from tasks.data.event_time import timed
from tasks.data.formats import Unreadable, frame_of, normal, parquet_bytes
from tasks.errors import SourceError, SpecError
from tasks.spec import DatasetSpec

ALWAYS = (datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))  # what datetime64[ns] holds
FORMS = {"day": ("%Y-%m-%d", "2013-01-31"), "week": ("%G-W%V", "2013-W05"), "month": ("%Y-%m", "2013-01")}


def period(spec: DatasetSpec, batch: str) -> tuple[datetime, datetime]:
    """Half-open period in UTC that a batch covers; one of period `all` covers every time there is.

    Raises:
        SourceError: the name is none that a batch of this dataset can have.
    """
    if spec.period == "all":
        if not re.fullmatch(r"all(-[0-9a-f]{8})?", batch):
            raise SourceError(spec.name, batch, "a batch of this dataset is called 'all' or 'all-' and eight hex digits")
        return ALWAYS
    form, example = FORMS[spec.period]
    try:
        start = datetime.strptime(f"{batch}-1" if spec.period == "week" else batch, f"{form}-%u" if spec.period == "week" else form).replace(tzinfo=UTC)
    except ValueError:
        start = None
    if start is None or start.strftime(form) != batch:
        raise SourceError(spec.name, batch, f"its name is not a {spec.period} such as {example!r}")
    match spec.period:
        case "day":
            return start, start + timedelta(days=1)
        case "week":
            return start, start + timedelta(days=7)
    return start, (start + timedelta(days=31)).replace(day=1)


def batch_name(spec: DatasetSpec, moment: datetime) -> str:
    """Name of the batch that a moment lies in."""
    if spec.period == "all":
        return "all"
    return (moment if moment.tzinfo is None else moment.astimezone(UTC)).strftime(FORMS[spec.period][0])


def following(spec: DatasetSpec, batch: str) -> str:
    """Name of the next batch.

    Raises:
        SourceError: the dataset's period is `all`, so none follows, or the name is wrong.
    """
    if spec.period == "all":
        raise SourceError(spec.name, batch, "no batch follows it, because the dataset's period is 'all'")
    return batch_name(spec, period(spec, batch)[1])


def content_name(frame: pd.DataFrame) -> str:
    """Name of a batch of period `all`: it says which rows these are, not when they were."""
    return f"all-{hashlib.sha256(parquet_bytes(frame)).hexdigest()[:8]}"


def read(spec: DatasetSpec, batch: str, uri: str = "") -> pd.DataFrame:
    """Raw rows of a batch with their `event_time`, in its order; rows outside the batch's period are another batch's.

    Args:
        uri: Take the batch from this file instead of the dataset's source.

    Raises:
        SourceError: there are no rows, or not in a form that can be read. SpecError: dataset.toml or source.py is wrong.
    """
    start, end = (moment.replace(tzinfo=None) for moment in period(spec, batch))
    parts: list[pd.DataFrame] = []
    times: list[pd.Timestamp] = []
    rows = 0
    try:
        for name, frame in _tables(spec, batch, uri, start, end):
            if frame.empty:
                continue
            with _about(name):
                frame = timed(normal(frame), spec.time, rows)
            rows += len(frame)
            times += [frame["event_time"].min(), frame["event_time"].max()]
            parts.append(frame[(frame["event_time"] >= start) & (frame["event_time"] < end)])
        return _whole(parts, rows, times, start, end)
    except Unreadable as err:
        raise SourceError(spec.name, batch, str(err)) from err


def _whole(parts: list[pd.DataFrame], rows: int, times: list[pd.Timestamp], start: datetime, end: datetime) -> pd.DataFrame:
    if not rows:
        raise Unreadable("the source holds no rows")
    if not any(len(part) for part in parts):
        raise Unreadable(f"none of its {rows:,} rows lies in {start:%Y-%m-%d} to {end:%Y-%m-%d} (their times run from {min(times)} to {max(times)})")
    odd = next((part for part in parts if set(part.columns) != set(parts[0].columns)), None)
    if odd is not None:
        raise Unreadable(f"its files differ in the columns {sorted(set(odd.columns) ^ set(parts[0].columns))[:5]}")
    whole = parts[0] if len(parts) == 1 else normal(pd.concat(parts, ignore_index=True))
    return whole.sort_values("event_time", kind="stable", ignore_index=True)


def _tables(spec: DatasetSpec, batch: str, uri: str, start: datetime, end: datetime) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each table a batch is read from, with the name that messages call it by."""
    scheme = spec.source.partition("://")[0] if "://" in spec.source else "file"
    if not uri and not spec.query and scheme not in fsspec.available_protocols():
        raise SpecError(spec.folder / "dataset.toml", [f"source: {scheme!r} is no protocol of fsspec, and an SQL URL needs `query` too"])
    if uri or (spec.source and not spec.query):
        yield from _files(uri or (spec.source if "://" in spec.source else str(spec.folder / spec.source)), batch)
    elif spec.query:
        yield "the query's result", _queried(spec, start, end)
    else:
        yield "what source.py gives", _loaded(spec, start, end)


def _files(location: str, batch: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The file, or the files of a glob: those with the batch in their name if there are such, else all."""
    try:
        fs, path = fsspec.core.url_to_fs(location)
        paths = [path] if fs.isfile(path) else sorted(fs.glob(path)) if set(path) & set("*?[") else []
        if not paths:
            raise Unreadable(f"{path} is a folder; name a file or a glob such as {path}/*.csv" if fs.isdir(path) else f"there is no file {path}")
        for each in [p for p in paths if batch in Path(p).name] or paths:
            with _about(Path(each).name), fs.open(each, "rb", compression="infer") as file:
                frame = frame_of(file.read(), Path(each).name)
            yield Path(each).name, frame
    except Unreadable:
        raise
    except Exception as err:  # no access, no driver, no keys, a broken archive: each file system of fsspec has errors of its own
        raise Unreadable(f"{_public(location)} cannot be opened ({type(err).__name__}: {_first_line(err)})") from err


def _queried(spec: DatasetSpec, start: datetime, end: datetime) -> pd.DataFrame:
    """Rows of the SQL query, in which `:start` and `:end` stand for the period."""
    query = sa.text(spec.query)
    try:
        engine = sa.create_engine(spec.source, poolclass=sa.NullPool)
        # SQLite keeps times as text: a bare date sorts before every time of its day, however that is written.
        bounds: dict[str, Any] = {"start": start, "end": end} if engine.dialect.name != "sqlite" else {"start": f"{start:%Y-%m-%d}", "end": f"{end:%Y-%m-%d}"}
        with engine.connect() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET TIME ZONE 'UTC'")  # so that bounds without a zone mean UTC to it too
            return pd.read_sql_query(query, connection, params={k: v for k, v in bounds.items() if k in query.compile().params})
    except (sa.exc.SQLAlchemyError, ImportError, ValueError) as err:
        raise Unreadable(f"the database gave no rows ({type(err).__name__}: {_first_line(getattr(err, 'orig', None) or err)})") from err


def _loaded(spec: DatasetSpec, start: datetime, end: datetime) -> pd.DataFrame:
    """Rows from the author's `load(start, end)`."""
    load = getattr(_module(spec), "load", None)
    if not callable(load):
        raise SpecError(spec.folder / "source.py", ["has no function load(start, end)"])
    try:
        frame = load(start, end)
    except Exception as err:  # whatever an author's function raises, the batch could not be read
        raise Unreadable(f"source.py failed ({type(err).__name__}: {_first_line(err)})") from err
    if not isinstance(frame, pd.DataFrame):
        raise Unreadable(f"load() of source.py gave a {type(frame).__name__}, not a DataFrame")
    return frame


def _module(spec: DatasetSpec) -> ModuleType:
    """The dataset's `source.py` under its import name, though its project may lie outside the import path."""
    path = spec.folder / "source.py"
    if not path.exists():
        raise SpecError(spec.folder / "dataset.toml", ["names no `source`, and the folder has no source.py"])
    name = f"expectations.{spec.name}.source"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None and found.loader is not None  # a .py file always has a loader
    module = sys.modules[name] = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as err:  # whatever an author's file raises on import is that file's problem, told by name
        del sys.modules[name]
        raise SpecError(path, [f"does not import: {type(err).__name__}: {err}"]) from err
    return module


@contextmanager
def _about(name: str) -> Iterator[None]:
    try:
        yield
    except Unreadable as err:
        raise Unreadable(f"{name} {err}") from err.__cause__


def _first_line(err: BaseException) -> str:
    return _public((str(err).splitlines() or [""])[0][:200])


def _public(text: str) -> str:
    """A message without the user and password of a URL in it: reasons stay in the ledger for good."""
    return re.sub(r"//[^/@\s]+@", "//", text)
