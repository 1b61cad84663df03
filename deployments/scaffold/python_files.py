"""The Python that `ratchet new` writes: pipeline.py, service.py and, where the file needs help to be read, source.py."""

from dataclasses import dataclass

from deployments.scaffold.proposal import Proposal
from deployments.scaffold.wording import filled, listed, oneline, question, quoted

ONE_HOT_VALUES = 100  # a category with more values makes a linear model wide and slow
CLASSIFIER = (
    "HistGradientBoostingClassifier",
    'LogisticRegression(C=params.get("c", 1.0), max_iter=500, random_state=seed)',
    '"c": trial.suggest_float("linear_c", 0.01, 100.0, log=True)',
)
REGRESSOR = (
    "HistGradientBoostingRegressor",
    'Ridge(alpha=params.get("alpha", 1.0), random_state=seed)',
    '"alpha": trial.suggest_float("linear_alpha", 0.001, 100.0, log=True)',
)
ORDINAL = 'OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)'
ONE_HOT = 'OneHotEncoder(handle_unknown="ignore")'
SCALED = 'Pipeline([("fill", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())])'


@dataclass(frozen=True)
class Groups:
    """Names of the features by what a pipeline does with them; booleans are numbers. `few` are the categories that the linear family sees."""

    categories: list[str]
    few: list[str]
    numbers: list[str]

    @property
    def few_name(self) -> str:
        """The constant that holds `few`; empty when there are none."""
        return "CATEGORIES" if self.few == self.categories and self.few else "FEW" if self.few else ""


def pipeline_py(it: Proposal) -> str:
    """`pipeline.py`."""
    groups = _groups(it)
    boosting, linear, linear_space = REGRESSOR if it.target.task == "regression" else CLASSIFIER
    small = len(it.table.frame) < 1_000
    trees = 40 if small else max(40, 100 // max(1, len(it.target.classes)) // 10 * 10)  # every round grows a tree for each class
    return filled(
        "pipeline.py",
        question=question(it),
        name=it.name,
        imports=_imports(groups, boosting, linear.partition("(")[0]),
        constants=_constants(it, groups),
        features=_indented(_features(it, groups), 4),
        boosting=boosting,
        boosting_encode=_indented(_encoders("CATEGORIES" if groups.categories else "", ORDINAL, groups.numbers, '"passthrough"'), 12),
        linear=linear,
        linear_encode=_indented(_encoders(groups.few_name, ONE_HOT, groups.numbers, SCALED), 12),
        linear_space=linear_space,
        trees=str(trees),
        trees_low=str(trees // 2),
        trees_high=str(trees // 2 + trees // 10 * 15),
        leaf_rows="5" if small else "20",
        leaf_rows_low="2" if small else "10",
        leaf_rows_high="17" if small else "60",
    )


def service_py(it: Proposal) -> str:
    """`service.py`."""
    return filled("service.py", question=question(it), service="".join(part.capitalize() for part in it.name.split("_")))


def source_py(it: Proposal) -> str:
    """`source.py`."""
    data = f"Path(__file__).with_name({quoted(it.location)})" if it.copied else f"Path({quoted(it.location)})"
    arguments = "".join(f", {key}={quoted(value) if isinstance(value, str) else value}" for key, value in it.table.arguments.items())
    lines = [
        "rows = pd.read_parquet(DATA)" if "parquet" in it.table.ending or "pq" in it.table.ending else f"rows = pd.read_csv(DATA, low_memory=False{arguments})"
    ]
    if it.times and it.times.format:
        lines += [f"# DECIDE: {it.times.doubt}."] if it.times.doubt else []
        column = f"rows[{quoted(it.time)}]"
        lines.append(f"{column} = pd.to_datetime({column}.astype(str).str.strip(), format={quoted(it.times.format)})")
    if it.shuffled:
        lines.append("# The file lies in the order of its label, so its order is no time: mix it, always in the same way.")
        lines.append("rows = rows.sample(frac=1, random_state=0)")
    return filled("source.py", dataset=it.dataset, file=oneline(it.table.path.name), data=data, body=_indented([*lines, "return rows"], 4))


def _groups(it: Proposal) -> Groups:
    categories = [column for column in it.contract if column.kind == "category"]
    numbers = [column.name for column in it.contract if column.kind != "category"]
    few = [column.name for column in categories if it.table.frame[column.raw].nunique() <= ONE_HOT_VALUES]
    names = [column.name for column in categories]
    return Groups(names, few if few or numbers else names, numbers)


def _indented(lines: list[str], depth: int) -> str:
    return "\n".join(" " * depth + line for line in lines)


def _imports(groups: Groups, boosting: str, linear: str) -> str:
    encoders = [*(["OneHotEncoder"] if groups.few else []), *(["OrdinalEncoder"] if groups.categories else []), *(["StandardScaler"] if groups.numbers else [])]
    lines = [
        "from sklearn.compose import ColumnTransformer",
        f"from sklearn.ensemble import {boosting}",
        *(["from sklearn.impute import SimpleImputer"] if groups.numbers else []),
        f"from sklearn.linear_model import {linear}",
        "from sklearn.pipeline import Pipeline",
        f"from sklearn.preprocessing import {', '.join(encoders)}",
    ]
    return "\n".join(lines)


def _constants(it: Proposal, groups: Groups) -> str:
    renamed = {column.raw: quoted(column.name) for column in it.columns.features if column.raw != column.name}
    unknown = {column.name: listed(list(column.unknown)) for column in it.columns.features if column.unknown}
    parts = [
        *(["# Raw name: feature name.", _mapping("COLUMNS", renamed)] if renamed else []),
        *(["# Texts that mean null among the numbers.", _mapping("UNKNOWN", unknown)] if unknown else []),
        *([f"CATEGORIES = {listed(groups.categories)}"] if groups.categories else []),
        *(
            [f"FEW = {listed(groups.few)}  # categories with at most {ONE_HOT_VALUES} values, which the linear family can take"]
            if groups.few_name == "FEW"
            else []
        ),
        *([f"NUMBERS = {listed(groups.numbers)}"] if groups.numbers else []),
    ]
    return "\n".join(parts)


def _mapping(name: str, values: dict[str, str]) -> str:
    return f"{name} = {{\n" + "".join(f"    {quoted(key)}: {value},\n" for key, value in values.items()) + "}"


def _features(it: Proposal, groups: Groups) -> list[str]:
    steps, frame = [], "raw"
    if any(column.raw != column.name for column in it.columns.features):
        steps, frame = ["frame = raw.rename(columns=COLUMNS)"], "frame"
    if any(column.unknown for column in it.columns.features):
        steps.append(f"frame = {frame}.assign(**{{name: {frame}[name].mask({frame}[name].isin(texts)) for name, texts in UNKNOWN.items()}})")
        frame = "frame"
    if it.derived:
        steps.append(f"frame = {frame}.assign({', '.join(f'{name}={code}' for name, code in it.derived.items())})")
        frame = "frame"
    if not groups.numbers:
        return [*steps, f"return {frame}[CATEGORIES].astype(object)"]
    if not groups.categories:
        return [*steps, f'return {frame}[NUMBERS].astype("float64")']
    types = '{**dict.fromkeys(CATEGORIES, object), **dict.fromkeys(NUMBERS, "float64")}'
    return [*steps, f"return {frame}[[*CATEGORIES, *NUMBERS]].astype({types})"]


def _encoders(categories: str, category: str, numbers: list[str], number: str) -> list[str]:
    parts = [*([f'("categories", {category}, {categories})'] if categories else []), *([f'("numbers", {number}, NUMBERS)'] if numbers else [])]
    return [f"encode = [{parts[0]}]"] if len(parts) == 1 else ["encode = [", *(f"    {part}," for part in parts), "]"]
