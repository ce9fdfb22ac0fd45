"""Names of version 0.1 that moved: they keep working with a DeprecationWarning for one version.

``MODULES`` lists modules, ``names`` serves names of a module that is still there, ``fields`` the fields of a
dataclass. Nothing is imported before an old name is used.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

MODULES: dict[str, str] = {
    "vega3d.video": "vega3d.media.frame_plan",
    "vega3d._torchvision": "vega3d._utils.torchvision",
    "vega3d.backbones.diffusion": "vega3d.backbones.frames",
    "vega3d.backbones.wan.tower": "vega3d.backbones.wan.encoder",
    "vega3d.backbones.wan.vae": "vega3d.backbones.wan.encoder",
    "vega3d.estimate": "vega3d.costs",
    "vega3d.evaluation.means": "vega3d.evaluation.metrics.means",
    "vega3d.evaluation.running.answerer": "vega3d.evaluation.run.model",
    "vega3d.encoding": "vega3d.fusion.encode",
    "vega3d.fusion.projector": "vega3d.fusion.base",
    "vega3d.report": "vega3d.fusion.encode",
    "vega3d.fusion.stats": "vega3d.fusion.encode",
    "vega3d.media.sampling": "vega3d.media.decoding",
    "vega3d.store.keys": "vega3d.store.format",
    "vega3d.store.lookup": "vega3d.store.feature_store",
    "vega3d.assistant": "vega3d.pipeline",
    "vega3d.training.push": "vega3d.training.export",
    "vega3d.training.rows": "vega3d.training.dataset",
    "vega3d.training.run": "vega3d.training.finetune",
}
"""Old module -> new module. A name that was also renamed is served by ``names`` in the new module."""


def names(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's ``__getattr__`` for names that moved or were renamed.

    Args:
        module: the module's own ``__name__``.
        moved: old name -> ``package.module:Name``.
    """

    def __getattr__(name: str) -> Any:
        if name not in moved:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        target, _, attribute = moved[name].partition(":")
        warn(f"{module}.{name}", f"{target}.{attribute}")
        return getattr(importlib.import_module(target), attribute)

    return __getattr__


class Renames(NamedTuple):  # a dataclass would make `vega3d --help` a tenth slower
    """Fields of a dataclass as version 0.1 named them.

    Attributes:
        renamed: old name -> new name.
        gone: old names that have no effect any more.
        values: new name -> {old value: new value}, for values that are given under the old name.
    """

    renamed: Mapping[str, str]
    gone: Collection[str] = ()
    values: Mapping[str, Mapping[str, str]] = {}


def fields(renames: Renames) -> Callable[[type[T]], type[T]]:
    """Decorate a dataclass so that it takes and has the fields of version 0.1, each with a warning."""

    def decorate(cls: type[T]) -> type[T]:
        new_init = cls.__init__

        @functools.wraps(new_init)
        def __init__(self: T, *values: Any, **named: Any) -> None:
            new_init(self, *values, **current(cls, named))

        def __getattr__(self: T, name: str) -> Any:
            if name not in renames.renamed:
                raise AttributeError(f"{cls.__name__!r} object has no attribute {name!r}")
            warn(f"{cls.__name__}.{name}", f"{cls.__name__}.{renames.renamed[name]}")
            return getattr(self, renames.renamed[name])

        for name, value in {"__renames__": renames, "__init__": __init__, "__getattr__": __getattr__}.items():
            setattr(cls, name, value)
        return cls

    return decorate


def current(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a dataclass under the names of this version; an old name wins over its new one."""
    renames: Renames = getattr(cls, "__renames__", Renames({}))
    result = {name: given[name] for name in given if name not in {*renames.renamed, *renames.gone}}
    notes = [f"{name} has no effect any more" for name in given if name in renames.gone]
    for name, new in renames.renamed.items():
        if name in given:
            value = given[name]
            result[new] = renames.values.get(new, {}).get(value, value) if isinstance(value, str) else value
            notes.append(f"{name} is now {new}")
    if notes:
        message = f"{cls.__name__}: {', '.join(notes)}. Old names go with version 0.3."
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    return result


def install() -> None:
    """Let imports of old modules find the new ones."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())


class _Finder(MetaPathFinder, Loader):
    """Finds old modules after every other finder has failed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        is_package = any(old.startswith(f"{fullname}.") for old in MODULES)
        if fullname not in MODULES and not (is_package and fullname.startswith("vega3d.")):
            return None
        return ModuleSpec(fullname, self, is_package=is_package)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if (new := MODULES.get(module.__name__)) is None:
            return  # a package that is only the way to an old module
        warn(module.__name__, new)
        target = importlib.import_module(new)
        module.__dict__["__getattr__"] = functools.partial(getattr, target)
        module.__dict__.update(__doc__=target.__doc__, __dir__=functools.partial(dir, target))


def warn(old: str, new: str) -> None:
    """Warn that an old name is used; the warning names the new one."""
    message = f"{old} is now {new}. The old name goes with version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=3)
