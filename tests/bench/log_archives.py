"""What archives of a log are worth: size on disk, time and memory of the monitor's reader, time and memory of making them.

    .venv/bin/python tests/bench/log_archives.py [LINES]     a million answered rows by default, half of them with a label, over a year

Each figure is of a fresh process. The last line printed is JSON.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = [f"measure_{n}" for n in range(12)]
WORDS = [f"word_{n}" for n in range(4)]
FIRST, DAYS = datetime(2025, 11, 1, tzinfo=UTC), 365
SEGMENT = 8 << 20


def write(home: Path, lines: int) -> None:
    """The log of a model with 16 features: rows in the order of time, each label two days later."""
    rng, log = random.Random(0), home / "log" / "late"
    step = timedelta(days=DAYS) / lines
    ids = [uuid7(FIRST + n * step, rng) for n in range(lines)]
    segments(log / "predictions", (prediction(i, FIRST + n * step, rng) for n, i in enumerate(ids)))
    segments(log / "feedback", (label(i, FIRST + 2 * n * step + timedelta(days=2), rng) for n, i in enumerate(ids[::2])))


def segments(folder: Path, lines: Iterator[tuple[datetime, bytes]]) -> None:
    """Write lines to segments, as servers begin and name them."""
    folder.mkdir(parents=True)
    file, size = None, SEGMENT
    for moment, line in lines:
        if size >= SEGMENT:
            if file:
                file.close()
            file, size = (folder / f"{moment:%Y%m%dT%H%M%S.%f}Z-7.jsonl").open("wb"), 0
        size += file.write(line) if file else 0
    if file:
        file.close()


def prediction(name: str, moment: datetime, rng: random.Random) -> tuple[datetime, bytes]:
    """A line of an answered row: of the numbers a half are rounded, as measurements are."""
    row: dict[str, Any] = {key: rng.gauss(50, 15) if n % 2 else round(rng.gauss(50, 15), 1) for n, key in enumerate(NUMBERS)}
    row |= {key: rng.choice(["AA", "DL", "UA", "B6", "WN"]) for key in WORDS}
    score, wall = rng.betavariate(2, 5), moment.isoformat()
    line = {
        "v": 1,
        "model": "late",
        "version": "20250901-aaaaaaaa",
        "release": "late-r1",
        "role": "champion",
        "event_time": wall,
        "wall_time": wall,
        "row": row,
    }
    line |= {"latency_us": rng.randrange(60, 200), "entity": rng.randbytes(16).hex()}
    return moment, orjson.dumps(line | {"id": name, "prediction": score >= 0.5, "score": score, "flags": []}, option=orjson.OPT_APPEND_NEWLINE)


def label(name: str, moment: datetime, rng: random.Random) -> tuple[datetime, bytes]:
    """A line of feedback."""
    time_ = moment.isoformat()
    return moment, orjson.dumps({"v": 1, "id": name, "label": rng.random() < 0.3, "time": time_, "wall_time": time_}, option=orjson.OPT_APPEND_NEWLINE)


def uuid7(moment: datetime, rng: random.Random) -> str:
    """An id made at that moment."""
    start, chance = f"{int(moment.timestamp() * 1_000):012x}", rng.randbytes(10).hex()
    return f"{start[:8]}-{start[8:]}-7{chance[:3]}-8{chance[3:6]}-{chance[6:18]}"


def keep(home: Path) -> dict[str, Any]:
    """Archive all; time and memory of that."""
    from tasks.monitoring.keeping import keep_log
    from tasks.settings import Settings

    settings, now, began = Settings(home=home), FIRST + timedelta(days=DAYS + 9), time.perf_counter()
    made = keep_log(settings, "late", timedelta(days=10_000), now)
    seconds, peak = time.perf_counter() - began, _peak_mb()
    keep_log(settings, "late", timedelta(days=10_000), now)
    return {"archives": made.archived, "seconds": round(seconds, 1), "peak_mb": peak}


def read(home: Path) -> dict[str, Any]:
    """Read the log with every month settled but the newest."""
    from bentos.runtime.contract import Feature
    from tasks.monitoring.log import read as read_log
    from tasks.spec import Gate, Label, ModelSpec, Monitoring

    features = {name: Feature(type="number") for name in NUMBERS} | {name: Feature(type="category") for name in WORDS}
    spec = ModelSpec(
        name="late",
        folder=home,
        dataset="d",
        task="binary",
        label=Label(column="x", above=1),
        features=features,
        gate=Gate(metric="roc_auc"),
        monitoring=Monitoring(window="month"),
    )
    settled = sorted({f"{FIRST + timedelta(days=day):%Y-%m}" for day in range(DAYS)})[:-1]
    began = time.perf_counter()
    logs = read_log(home / "log" / "late", spec, timedelta(days=2), settled)
    facts = {"rows": len(logs.answers), "labels": int(logs.answers["label"].notna().sum()), "unreadable": logs.unreadable, "unknown": logs.unknown}
    return {"seconds": round(time.perf_counter() - began, 2), "peak_mb": _peak_mb()} | facts


def megabytes(home: Path) -> dict[str, float]:
    """Of each kind of log."""
    return {kind: round(sum(path.stat().st_size for path in (home / "log" / "late" / kind).iterdir()) / 2**20, 1) for kind in ("predictions", "feedback")}


def find(home: Path) -> dict[str, Any]:
    """Look for a row of last winter, and for none."""
    from deployments.commands.answered import find as find_row

    rng, seconds = random.Random(0), []
    for name in (uuid7(FIRST, rng), uuid7(FIRST, rng)):
        began = time.perf_counter()
        find_row(home / "log", name)
        seconds.append(round(time.perf_counter() - began, 3))
    return {"seconds": seconds}


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _apart(step: str, home: Path) -> dict[str, Any]:
    code = f"import json, sys; sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]; import log_archives; from pathlib import Path\n"
    code += f"print(json.dumps(log_archives.{step}(Path({str(home)!r}))))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # DuckDB draws a progress bar before it
    print(f"{step}: {found}", flush=True)
    return found


def main(lines: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="ratchet-log-") as folder:
        home, figures = Path(folder), {}
        write(home, lines)
        figures["json"] = {"mb": megabytes(home), "read": _apart("read", home), "find": _apart("find", home)}
        figures["made"] = _apart("keep", home)
        figures["parquet"] = {"mb": megabytes(home), "read": _apart("read", home), "find": _apart("find", home)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
