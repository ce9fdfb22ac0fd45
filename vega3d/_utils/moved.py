"""Names of version 0.1 that moved: they keep working with a DeprecationWarning for one version.

``MODULES`` lists modules, ``names`` serves single names of a module that is still there. Nothing is imported
before an old name is used.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES: dict[str, str] = {
    "vega3d.evaluation.means": "vega3d.evaluation.metrics.means",
    "vega3d.evaluation.running.answerer": "vega3d.evaluation.run.model",
    "vega3d.encoding": "vega3d.fusion.encode",
    "vega3d.report": "vega3d.fusion.stats",
    "vega3d.assistant": "vega3d.pipeline",
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
        module.__doc__ = target.__doc__
        module.__dict__["__getattr__"] = lambda name: getattr(target, name)
        module.__dict__["__dir__"] = lambda: dir(target)


def warn(old: str, new: str) -> None:
    """Tell whoever uses an old name which one to use."""
    message = f"{old} is now {new}. The old name goes with version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=3)
