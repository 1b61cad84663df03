"""A project folder: its datasets and models, found and read. A broken folder fails by name and is never skipped."""

import hashlib
import importlib
import tomllib
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError

import bentos
import expectations
from tasks.errors import SpecError, UnknownNameError
from tasks.settings import Settings
from tasks.spec import DatasetSpec, FolderSpec, ModelSpec

T = TypeVar("T", bound=FolderSpec)


class Project:
    """The datasets and models of one project folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        for package, folder in ((bentos, self.root / "bentos"), (expectations, self.root / "expectations")):
            if str(folder) not in package.__path__:
                package.__path__.append(str(folder))  # so that bentos.<model>.pipeline imports from any project folder

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The project of an installation."""
        return cls(settings.project)

    def models(self) -> list[str]:
        """Names of the model folders."""
        return _folders(self.root / "bentos", "model.toml")

    def datasets(self) -> list[str]:
        """Names of the dataset folders."""
        return _folders(self.root / "expectations", "dataset.toml")

    def model(self, name: str) -> ModelSpec:
        """Spec of a model.

        Raises:
            UnknownNameError: no such folder. SpecError: its model.toml is wrong, or its dataset's dataset.toml, or it would log a personal column.
        """
        if name not in self.models():
            raise UnknownNameError("model", name, self.models(), self.root / "bentos")
        spec = _read(ModelSpec, self.root / "bentos" / name / "model.toml")
        if spec.dataset not in self.datasets():
            raise UnknownNameError("dataset", spec.dataset, self.datasets(), self.root / "bentos" / name / "model.toml")
        if problems := _told_of_persons(spec, self.dataset(spec.dataset)):
            raise SpecError(spec.folder / "model.toml", problems)
        return spec

    def dataset(self, name: str) -> DatasetSpec:
        """Spec of a dataset; raises like `model`."""
        if name not in self.datasets():
            raise UnknownNameError("dataset", name, self.datasets(), self.root / "expectations")
        return _read(DatasetSpec, self.root / "expectations" / name / "dataset.toml")

    def models_of(self, dataset: str) -> list[ModelSpec]:
        """Specs of the models that a dataset feeds."""
        return [spec for spec in map(self.model, self.models()) if spec.dataset == dataset]

    def pipeline(self, model: str) -> ModuleType:
        """The author's `pipeline.py`, imported as `bentos.<model>.pipeline` so that a bento finds it under the same name."""
        path = self.root / "bentos" / model / "pipeline.py"
        try:
            module = importlib.import_module(f"bentos.{model}.pipeline")
        except Exception as err:  # whatever an author's file raises on import is that file's problem, told by name
            raise SpecError(path, [f"does not import: {type(err).__name__}: {err}"]) from err
        missing = [name for name in ("features", "build", "space") if not callable(getattr(module, name, None))]
        if missing:
            raise SpecError(path, [f"has no function {name}()" for name in missing])
        return module

    def code_digest(self, model: str) -> str:
        """Digest of the model's folder and its dataset's: moves when anything an author wrote moves."""
        digest = hashlib.sha256()
        for folder in (self.root / "bentos" / model, self.root / "expectations" / self.model(model).dataset):
            for path in sorted(folder.rglob("*")):
                if path.suffix in {".py", ".toml", ".json"} and path.is_file():
                    digest.update(f"{path.relative_to(self.root).as_posix()}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()


def _told_of_persons(spec: ModelSpec, dataset: DatasetSpec) -> list[str]:
    """Where a model would write down what a personal column of its dataset holds."""
    named = f"which expectations/{dataset.name}/dataset.toml lists under personal"
    plain = [name for name in spec.contract.logged if name in dataset.personal]
    sliced = [name for name in spec.slices if name in dataset.personal]
    return [f'feature {name!r}, {named}, needs log = "hash" or log = "omit": the prediction log must not hold its values' for name in plain] + [
        f"`slices` names {name!r}, {named}: its values would stand in the ledger" for name in sliced
    ]


def _folders(root: Path, marker: str) -> list[str]:
    return sorted(path.parent.name for path in root.glob(f"*/{marker}")) if root.is_dir() else []


def _read(kind: type[T], path: Path) -> T:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise SpecError(path, [f"is not valid TOML: {err}"]) from err
    try:
        return kind(name=path.parent.name, folder=path.parent, **content)
    except ValidationError as err:
        raise SpecError(path, [_sentence(kind, error) for error in err.errors()]) from err
    except TypeError as err:  # the file sets `name` or `folder`
        raise SpecError(path, ["`name` and `folder` come from the folder; remove them"]) from err


def _sentence(kind: type[BaseModel], error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    known = _keys(kind, error["loc"][:-1])
    near = get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"{where}: no such key." + (f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}.")


def _keys(kind: Any, path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = getattr(kind, "model_fields", {}).get(part)
        kind = field.annotation if field else (kind.__args__[1] if getattr(kind, "__args__", None) else kind)
    return [key for key in getattr(kind, "model_fields", {}) if key not in {"name", "folder"}]
