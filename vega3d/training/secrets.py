"""Settings that hold a token or a password, so that no file and no message repeats one.

This module reads no settings.
"""

from __future__ import annotations

import re
from typing import Any

_WORDS = "token|password|passwd|secret|credentials?|api_?key|access_key|private_key"
_SECRET = re.compile(rf"(^|[_\-.])({_WORDS})$", re.IGNORECASE)
MASK = "<hidden>"


def is_secret(name: str) -> bool:
    """True if a setting of this name holds a secret: ``hub_token``, ``api_key``, ``password``."""
    return _SECRET.search(name) is not None


def masked(value: Any, mask: str | None = MASK) -> Any:
    """A copy of nested plain values in which ``mask`` replaces every secret that is set."""
    if isinstance(value, dict):
        return {
            name: mask if is_secret(str(name)) and inner is not None else masked(inner, mask)
            for name, inner in value.items()
        }
    return [masked(inner, mask) for inner in value] if isinstance(value, list | tuple) else value
