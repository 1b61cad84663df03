"""The TOML and the sample request that `ratchet new` writes."""

import json
from typing import Any

import pandas as pd

from deployments.scaffold.infer import Column
from deployments.scaffold.proposal import Proposal
from deployments.scaffold.wording import filled, oneline, question, quoted

SAMPLE_ROWS = 2
MADE_UP = {"number": 0.0, "integer": 0, "boolean": False, "category": "made up"}
PERSONAL = ' # DECIDE: does the model need it? The log of requests keeps a hash; "omit" keeps nothing.'
NO_TIME = """# There is no time column, so the order of the rows counts as time: the last fifth of them is the hold-out, and new rows go to the end.
# DECIDE: is one of the columns a time after all? Then name it: time = "<column>"."""
MIXED = """# There is no time column, and the file lies in the order of its label: source.py mixes its rows, and a fifth of them, by chance, is the hold-out.
# DECIDE: is one of the columns a time after all? Then name it, time = "<column>", and mix no more."""
LEAK = """# If it is known only after the event, remove it from [features] and pipeline.py, and name its column under outcome in dataset.toml.
# Else trust it below; until then the gate refuses."""


def dataset_toml(it: Proposal) -> str:
    """`dataset.toml`."""
    ids = " or ".join(map(quoted, it.ids))
    return filled(
        "dataset.toml",
        dataset=it.dataset,
        file=oneline(it.table.path.name),
        description=quoted(f"{len(it.table.frame):,} rows of {it.table.path.name}"),
        source="# The file needs a little help to be read: see source.py." if it.needs_loader else f"source = {quoted(it.location)}",
        time=f"time = {quoted(it.time)}" if it.times else MIXED if it.shuffled else NO_TIME,
        entity_hint=f" Perhaps {ids}." if ids else "",
        outcome=quoted(it.target.column),
        period_hint=' Or "day", "week" or "month": then a batch is the rows of one.' if it.times else "",
        personal=", ".join(map(quoted, it.personal)),
    )


def model_toml(it: Proposal) -> str:
    """`model.toml`."""
    sizes = {key: f"{value:_}" if isinstance(value, int) else str(value) for key, value in vars(it.sizes).items()}
    return filled(
        "model.toml",
        **sizes,
        question=question(it),
        question_quoted=quoted(question(it)),
        name=it.name,
        file=oneline(it.table.path.name),
        dataset=quoted(it.dataset),
        task=it.target.task,
        why=f"inferred: {oneline(it.target.why)}",
        answer=_answer(it),
        slices_hint=f" Perhaps {', '.join(map(quoted, it.slices))}." if it.slices else "",
        sensitive=", ".join(map(quoted, it.sensitive)),
        label=quoted(it.target.column),
        truth=_truth(it),
        features="\n".join(_feature(column, column.raw in it.personal) for column in it.contract),
        left="".join(f"# Left out {oneline(left.raw)}: {oneline(left.reason)}.\n" for left in it.columns.left),
        block_why="days are drawn together, because the rows of a day are alike"
        if it.sizes.block == "day"
        else "DECIDE: are the rows independent? Else draw them by day or by entity.",
        trusted=_trusted(it),
    )


def sample_json(features: pd.DataFrame, it: Proposal) -> str:
    """`sample.json`: a request of rows that `features()` made, those with the fewest nulls first; nobody's personal values."""
    fewest = features.isna().sum(axis=1).sort_values(kind="stable").index[:SAMPLE_ROWS]
    request = [
        {column.name: MADE_UP[column.kind] if column.raw in it.personal else _value(features.at[row, column.name], column) for column in it.contract}
        for row in fewest
    ]
    return json.dumps({"rows": request}, indent=2, ensure_ascii=False) + "\n"


def _answer(it: Proposal) -> str:
    if it.target.task == "multiclass":
        return f"classes = [{', '.join(map(quoted, it.target.classes))}]"
    if it.target.task == "binary":
        return "threshold = 0.5 # DECIDE: from which probability the prediction is true"
    return "# The answer is a number, in the unit of the label."


def _truth(it: Proposal) -> str:
    if it.target.above is not None:
        return f"above = {it.target.above:g} # true when the column is greater"
    if it.target.positive is not None:
        return f"positive = {quoted(it.target.positive)} # DECIDE: is this the value that counts as true?"
    return "# Whole numbers are classes under their digits." if it.target.task == "multiclass" else "# A row without a number here is not trained on."


def _feature(column: Column, personal: bool) -> str:
    more = (", nullable = true" if column.nullable else "") + (', log = "hash"' if personal else "")
    return f'{column.name} = {{ type = "{column.kind}"{more} }}{PERSONAL if personal else ""}'


def _trusted(it: Proposal) -> str:
    found = [f"# DECIDE: {leak.feature} explains the label almost alone ({leak.measure} {leak.value:.3f})." for leak in it.leaks]
    return "\n".join([*found, *([LEAK] if found else []), "trusted = [] # features that may explain the label almost alone"])


def _value(value: Any, column: Column) -> object:
    return None if pd.isna(value) else {"number": float, "integer": int, "boolean": bool, "category": str}[column.kind](value)
