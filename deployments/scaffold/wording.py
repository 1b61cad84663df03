"""Words and values of the data, made safe inside TOML, comments and Python, and the templates they are put into."""

import json
from pathlib import Path
from string import Template

from deployments.scaffold.proposal import Proposal

TEMPLATES = Path(__file__).with_name("templates")
LONGEST = 80  # characters of a word from the data inside a comment
LINE = 120


def filled(template: str, **parts: str) -> str:
    """A template with its parts put in; a missing part is an error."""
    return Template((TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")).substitute(parts)


def quoted(value: str) -> str:
    """A string in double quotes, as TOML, JSON and Python write it alike."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(values: list[str]) -> str:
    """A list of strings as Python and TOML write it alike, on several lines when it is long."""
    line = "[" + ", ".join(map(quoted, values)) + "]"
    return line if len(line) < LINE else "[\n" + "".join(f"    {quoted(value)},\n" for value in values) + "]"


def oneline(value: object) -> str:
    """A word from the data, safe inside a comment or a docstring."""
    return "".join(c for c in " ".join(str(value).split()) if c.isprintable())[:LONGEST].replace("\\", "/").replace('"', "'")


def question(it: Proposal) -> str:
    """What the model answers, in one sentence."""
    column = oneline(it.target.column)
    if it.target.task == "binary":
        return f"Will {column} be {oneline(it.target.positive)}?" if it.target.positive is not None else f"Will {column} be above {it.target.above:g}?"
    return f"Which {column} is it?" if it.target.task == "multiclass" else f"How much is {column}?"
