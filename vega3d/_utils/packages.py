"""Optional packages, imported when a call needs them."""

from __future__ import annotations

import importlib
from typing import Any

from vega3d.errors import DependencyError


def imported(name: str, use: str, extra: str = "train") -> Any:
    """Import a package of an extra.

    Args:
        name: of the package.
        use: what needs it, for the error.
        extra: that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        title, fix = f"Missing package {name}, which {use}.", f"pip install 'vega3d[{extra}]'"
        raise DependencyError(title, got=str(error), expected=name, fix=fix) from error
