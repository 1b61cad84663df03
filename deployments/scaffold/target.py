"""What a label column asks for: a binary, multiclass or regression task, inferred from its values. Pure; nothing is asked."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bentos.runtime.contract import Task
from deployments.scaffold.infer import unknown_texts
from tasks.errors import SpecError, UnknownNameError

Column = pd.Series
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
MAX_INTEGER_CLASSES = 10  # more distinct whole numbers than this are a quantity: ten covers digits, grades and stars
MAX_CLASSES = 50
CLASS_ROWS = 10  # a class with fewer rows is hardly in both parts of a split
# Words that mean true when one of two values is one of them.
POSITIVE = frozenset(
    {"yes", "y", "true", "t", "1", "positive", "pos", "churn", "churned", "fraud", "default", "bad", "late", "failed", "failure", "spam", "malignant", "won"}
)


@dataclass(frozen=True)
class Target:
    """What is predicted. For a binary task either `above` or `positive` is set; `classes` for multiclass."""

    column: str
    task: Task
    above: float | None = None
    positive: str | None = None
    classes: tuple[str, ...] = ()
    why: str = ""


def target(column: Column, path: object, task: str | None = None, positive: str | None = None) -> Target:
    """Task and label of a column.

    Args:
        path: The file, for messages.
        task: Wanted instead of the inferred one.
        positive: Binary: the value, as text, that counts as true.

    Raises:
        SpecError: it is empty, constant, holds times or free text, or does not suit the task that was asked for.
        UnknownNameError: `task` or `positive` is not among what there is.
    """
    name, known = str(column.name), column.dropna()
    if task is not None and task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    distinct = _distinct(known, name, path)
    wanted = task or _inferred(known, distinct, name, path)
    if wanted == "binary":
        return _binary(known, distinct, name, path, positive)
    if positive is not None:
        raise SpecError(str(path), [f"--positive {positive!r} is for binary labels, but label {name!r} is {wanted} ({distinct:,} distinct values)"])
    return _multiclass(known, distinct, name, path) if wanted == "multiclass" else _regression(known, distinct, name, path)


def sorted_by(label: Column, task: Task) -> bool:
    """Whether the rows lie in the order of their label, so that their order cannot be time."""
    known = label.dropna()
    if task == "regression":
        return bool(known.is_monotonic_increasing or known.is_monotonic_decreasing)
    shares = known.value_counts(normalize=True)
    changes = int((known.astype(str) != known.astype(str).shift()).sum()) - 1
    by_chance = (len(known) - 1) * (1 - float((shares**2).sum()))
    return changes <= max(2 * (len(shares) - 1), 0.02 * by_chance)  # twice: two sorted files, one behind the other


def as_text(column: Column) -> Column:
    """Known labels as the engine words them (`tasks.data.snapshot.label_of`): whole numbers without a fraction."""
    known = column.dropna()
    whole = pd.api.types.is_float_dtype(known) and bool((known % 1 == 0).all())
    return (known.astype("int64") if whole else known).astype(str)


def _distinct(known: Column, name: str, path: object) -> int:
    if known.empty:
        raise SpecError(str(path), [f"label {name!r} is null in every row"])
    try:
        distinct = int(known.nunique())
    except TypeError:
        raise SpecError(str(path), [f"label {name!r} holds lists or records; a label is one value a row"]) from None
    if distinct == 1:
        raise SpecError(str(path), [f"label {name!r} is {str(known.iloc[0])!r} in every row that has one; there is nothing to learn"])
    if pd.api.types.is_datetime64_any_dtype(known):
        raise SpecError(str(path), [f"label {name!r} holds times; derive a number or a yes/no column from it"])
    return distinct


def _inferred(known: Column, distinct: int, name: str, path: object) -> Task:
    if distinct == 2:
        return "binary"
    if _is_number(known):
        whole = bool((known.astype("float64") % 1 == 0).all())
        return "multiclass" if whole and distinct <= MAX_INTEGER_CLASSES and known.value_counts().min() >= CLASS_ROWS else "regression"
    if unknown := unknown_texts(known):
        raise SpecError(str(path), [f"label {name!r} holds numbers, but also {', '.join(map(repr, unknown))}; leave those cells empty"])
    if distinct > min(MAX_CLASSES, len(known) // 5):
        raise SpecError(str(path), [f"label {name!r} has {distinct:,} distinct texts in {len(known):,} rows: neither numbers nor a few classes"])
    return "multiclass"


def _binary(known: Column, distinct: int, name: str, path: object, positive: str | None) -> Target:
    if distinct != 2:
        raise SpecError(str(path), [f"label {name!r} has {distinct:,} distinct values, so it is not binary"])
    counts = as_text(known).value_counts()
    share, texts = counts / len(known), sorted(counts.index)
    if counts.min() < CLASS_ROWS:
        rare, few = counts.index[-1], int(counts.min())
        raise SpecError(
            str(path), [f"label {name!r} is {rare!r} in {few} rows only; at least {CLASS_ROWS} are needed to learn from some and to judge by others"]
        )
    if positive is not None and positive not in texts:
        raise UnknownNameError(f"value of label {name!r}", positive, texts, str(path))
    if _is_number(known):
        low, high = float(known.min()), float(known.max())
        top = as_text(known[known.astype("float64") == high]).iloc[0]
        if positive in (None, top):
            return Target(name, "binary", above=round((low + high) / 2, 6), why=f"two values, and {top} is taken as true ({share[top]:.1%} of the rows)")
    if positive is None:
        usual = [text for text in texts if text.strip().lower() in POSITIVE]
        positive = usual[0] if len(usual) == 1 else str(share.index[-1])
    why = f"two values, {texts[0]!r} and {texts[1]!r}, and {positive!r} is taken as true ({share[positive]:.1%} of the rows)"
    return Target(name, "binary", positive=positive, why=why)


def _multiclass(known: Column, distinct: int, name: str, path: object) -> Target:
    if not 2 < distinct <= MAX_CLASSES:
        raise SpecError(str(path), [f"label {name!r} has {distinct:,} distinct values; a multiclass label has 3 to {MAX_CLASSES}"])
    once = known.drop_duplicates()
    classes = as_text(once.sort_values() if _is_number(known) else once.astype(str).sort_values())
    return Target(name, "multiclass", classes=tuple(classes), why=f"{distinct} distinct values")


def _regression(known: Column, distinct: int, name: str, path: object) -> Target:
    if not _is_number(known):
        raise SpecError(str(path), [f"label {name!r} holds texts such as {str(known.iloc[0])[:40]!r}, so it cannot be a regression"])
    if not np.isfinite(known.astype("float64")).all():
        raise SpecError(str(path), [f"label {name!r} holds infinite numbers; mend or remove those rows"])
    return Target(name, "regression", why=f"{distinct:,} distinct numbers from {_short(known.min())} to {_short(known.max())}")


def _is_number(column: Column) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _short(number: Any) -> str:
    return f"{float(number):.6g}"
