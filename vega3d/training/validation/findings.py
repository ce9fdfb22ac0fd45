"""What a check finds: each problem with its place, whatever else is wrong.

This module knows no settings and no data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from vega3d.errors import Vega3DError

Kind = Literal["setting", "annotation", "media", "length", "store", "model", "output", "memory"]


@dataclass(frozen=True)
class Finding:
    """One problem.

    Attributes:
        kind: what it is about.
        where: file and row, or the name of a setting.
        error: what is wrong, and what to do.
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

    def extend(self, kind: Kind, where: str, errors: Iterable[Vega3DError]) -> None:
        """Keep several."""
        for error in errors:
            self.add(kind, where, error)

    def counts(self) -> dict[str, int]:
        """Problems of each kind."""
        return dict(Counter(one.kind for one in self.found))
