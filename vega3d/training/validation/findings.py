"""Problems that a validation collects, each with its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from vega3d.errors import HostError, Vega3DError

T = TypeVar("T")

Kind = Literal["setting", "annotation", "media", "length", "store", "model", "output", "memory"]


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        kind: its subject.
        where: file and row, or the name of a setting.
        error: the problem, and the way out.
    """

    kind: Kind
    where: str
    error: Vega3DError

    def to_dict(self) -> dict[str, str]:
        """Plain JSON types."""
        error = self.error
        own = {"problem": error.what, "got": error.got, "expected": error.expected, "fix": error.fix}
        return {"kind": self.kind, "where": self.where, **{name: str(one) for name, one in own.items()}}


@dataclass
class Findings:
    """Problems in the order in which they were found; the same one in the same place counts once."""

    found: list[Finding] = field(default_factory=list)
    _seen: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, kind: Kind, where: str, error: Vega3DError) -> None:
        """Keep a problem."""
        key = (kind, where, error.what)
        if key not in self._seen:
            self._seen.add(key)
            self.found.append(Finding(kind, where, error))

    def attempt(self, kind: Kind, where: str, make: Callable[[], T]) -> T | None:
        """The result of ``make``; None, and a problem, if it raises."""
        try:
            return make()
        except Vega3DError as error:
            self.add(kind, where, error)
        except (OSError, ValueError) as error:  # transformers' own, about a folder that it cannot use
            self.add(kind, where, _unusable(error))
        return None


def _unusable(error: Exception) -> HostError:
    return HostError(
        "Cannot use a part of the model.",
        got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
        expected="folders or hub ids of a Qwen-VL and a generator",
        fix="check model.host and model.backbone.path; offline, download first and pass the folder",
    )
