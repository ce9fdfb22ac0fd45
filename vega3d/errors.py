"""Every error that vega3d raises on purpose, as one small tree.

A message always answers four questions: what went wrong, what was given, what was expected, and how
to fix it. Each class also inherits the builtin that a caller would expect (``ValueError``,
``FileNotFoundError``, ...), so existing ``except`` clauses keep working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class Vega3DError(Exception):
    """Base of all errors raised by vega3d.

    Args:
        what: one sentence that names the problem and the offender.
        got: the offending value, as the user gave it.
        expected: what would have been accepted.
        fix: the next step, ideally a command or an argument to pass.
    """

    def __init__(
        self, what: str, *, got: object = None, expected: object = None, fix: str | None = None
    ) -> None:
        self.what, self.got, self.expected, self.fix = what, got, expected, fix
        parts = {"got": got, "expected": expected, "fix": fix}
        answers = [f"  {name + ':':9} {part}" for name, part in parts.items() if part is not None]
        super().__init__("\n".join([what, *answers]))


class ConfigError(Vega3DError, ValueError):
    """A setting is unknown, out of range, or contradicts another one."""


class MediaError(Vega3DError, ValueError):
    """A video or an image exists but cannot be used: truncated, empty, wrong kind, mixed sizes."""


class MediaNotFoundError(Vega3DError, FileNotFoundError):
    """A video or an image is not there (or is behind a network that cannot be reached)."""


class InputError(Vega3DError, ValueError):
    """A call received tensors or messages that do not fit together."""


class HostError(Vega3DError, ValueError):
    """The wrapped language model is of a family, or of a version, that cannot be wrapped."""


class BackboneError(Vega3DError, ValueError):
    """A frozen encoder is missing, incomplete, or asked for something that it cannot do."""


class CheckpointError(Vega3DError, ValueError):
    """Files on disk are missing, damaged, of another format, or of another host."""


class WriteError(Vega3DError, OSError):
    """A file cannot be written: a full disk, a quota, no permission. An older file is whole."""


class StoreError(Vega3DError, ValueError):
    """A feature store is missing, damaged, full, of another generator, or lacks a feature."""


class DependencyError(Vega3DError, ImportError):
    """An optional package is needed for this call and is not installed or does not load."""


class UnknownKeywordError(Vega3DError, TypeError):
    """A keyword argument that nobody reads: always a typo, so never swallowed."""


def nearest(name: str, accepted: Iterable[str]) -> str | None:
    """The accepted name that is spelled most like ``name``, or None when nothing comes close."""
    matches = difflib.get_close_matches(name, list(accepted), n=1)
    return matches[0] if matches else None


def unknown_choice(kind: str, name: object, accepted: Iterable[str]) -> ConfigError:
    """A ready-made error for a name that is not in a list: says the list and the nearest name."""
    choices = sorted(accepted)
    close, expected = nearest(str(name), choices), "one of " + ", ".join(map(repr, choices))
    fix = f"did you mean {close!r}?" if close else f"pass one of the names above as {kind}"
    return ConfigError(f"Unknown {kind} {name!r}.", got=repr(name), expected=expected, fix=fix)
