"""A problem of an author's file, and the line it is on: in TOML, JSON, suites and Python."""

import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.errors import RatchetError, SpecError

Level = Literal["error", "warning", "hint"]
WORD = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*")
HEADER = re.compile(r"\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
KEY = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[\w-]+))*)\s*=""")


@dataclass(frozen=True)
class Problem:
    """What is wrong in a file. Only errors keep a model from being trained; a hint is a line that waits for a person."""

    path: Path
    line: int
    message: str
    level: Level = "error"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.level}: {self.message}"


def problems_of(err: RatchetError, path: Path, line: int = 1, level: Level = "error") -> Iterator[Problem]:
    """One problem for each sentence of an error, in the file it names (else in `path`), on the line that it or its cause is about."""
    if isinstance(err, SpecError) and Path(err.path).suffix in {".toml", ".py", ".json"}:
        path = Path(err.path)
    sentences = err.problems if isinstance(err, SpecError) else (str(err),)
    for sentence in sentences:
        for part in sentence.removeprefix("the file: ").split("; ") if sentence.startswith("the file: ") else [sentence]:
            numbered = re.match(r"line (\d+): ", part)
            yield Problem(path, int(numbered[1]) if numbered else line_of(path, part, err, line), part[numbered.end() :] if numbered else part, level)


def line_of(path: Path, sentence: str, err: BaseException | None = None, otherwise: int = 1) -> int:
    """The line of a file that a sentence or an exception is about."""
    if not path.is_file():
        return otherwise
    if found := re.search(r"\(?\bline (\d+)", sentence):
        return int(found[1])
    if path.suffix == ".py":
        return python_line(path, err) or definition_line(path, sentence) or otherwise
    text = path.read_text(encoding="utf-8", errors="replace")
    return _named_line(text, sentence) or otherwise if path.suffix == ".toml" else otherwise


def key_line(text: str, key: tuple[str, ...]) -> tuple[int, int]:
    """The line on which a dotted key of a TOML text stands or, where it does not, its nearest table; and how many of its parts that has."""
    table: tuple[str, ...] = ()
    best = (1, 0)
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.match(line):
            found = table = _parts(header[1])
        elif match := KEY.match(line):
            found = (*table, *_parts(match[1]))
        else:
            continue
        if found == key[: len(found)] and len(found) > best[1]:
            best = (number, len(found))
    return best


def python_line(path: Path, err: BaseException | None) -> int | None:
    """The innermost line of a Python file in the traceback of an exception or of what caused it."""
    line = None
    while err is not None:
        if isinstance(err, SyntaxError) and err.filename and Path(err.filename) == path:
            return err.lineno
        frames = [frame.lineno for frame in traceback.extract_tb(err.__traceback__) if Path(frame.filename) == path]
        line = frames[-1] if frames else line
        err = err.__cause__ or err.__context__
    return line


def definition_line(path: Path, sentence: str) -> int | None:
    """The line that defines the function which a sentence calls `name()`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for name in re.findall(r"(\w+)\(\)", sentence):
        for number, line in enumerate(lines, start=1):
            if re.match(rf"\s*(async\s+)?def {name}\b", line):
                return number
    return None


def _named_line(text: str, sentence: str) -> int | None:
    """The line of the key that a sentence is about: one in backticks, else the most exact one; a quoted word may be a feature."""
    marked = [tuple(word.split(".")) for word in re.findall(r"`([\w.]+)`", sentence)]
    named = [tuple(word.split(".")) for word in WORD.findall(sentence)]
    named += [("features", *name) for name in named if len(name) == 1]
    for names in (marked, named):
        found = [(key_line(text, name), name) for name in names]
        if whole := [(line, depth) for (line, depth), name in found if depth == len(name)]:
            return max(whole, key=lambda each: each[1])[0]
    return next((line for (line, depth), _ in found if depth), None)  # a key that is missing or mistyped: its table


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(r""""[^"]*"|'[^']*'|[\w-]+""", dotted))
