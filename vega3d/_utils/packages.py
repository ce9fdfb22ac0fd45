"""Optional packages, imported when a call needs them."""

from __future__ import annotations

import importlib
from typing import Any

from vega3d.errors import DependencyError


def imported(name: str, use: str) -> Any:
    """Import a package of the extra ``train``.

    Args:
        name: of the package.
        use: what needs it, for the error.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        title, fix = f"Missing package {name}, which {use}.", "pip install 'vega3d[train]'"
        raise DependencyError(title, got=str(error), expected=name, fix=fix) from error
