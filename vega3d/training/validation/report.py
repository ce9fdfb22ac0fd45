"""Result of a validation: every problem with its place, the rows, and the cost of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ParamSpec, TypeVar

from vega3d.errors import HostError, Vega3DError
from vega3d.training.validation.plan import Plan
from vega3d.training.validation.rows import Kind, Lengths

P = ParamSpec("P")
T = TypeVar("T")


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
        parts = {"problem": error.what, "got": error.got, "expected": error.expected, "fix": error.fix}
        return {"kind": self.kind, "where": self.where, **{name: str(part) for name, part in parts.items()}}


@dataclass
class Report:
    """Result of a validation; a problem that is found twice in the same place counts once.

    Attributes:
        files: rows of an epoch by file.
        rows: sizes of the rows.
        plan: cost of the run; None if its settings do not make a run.
    """

    files: dict[str, int] = field(default_factory=dict)
    rows: Lengths = field(default_factory=Lengths)
    plan: Plan | None = None
    _found: dict[tuple[str, str, str], Finding] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """Problems in the order in which they were found; empty for a run that can start."""
        return list(self._found.values())

    def add(self, kind: Kind, where: str, error: Vega3DError) -> None:
        """Keep a problem."""
        self._found.setdefault((kind, where, error.what), Finding(kind, where, error))

    def attempt(
        self, kind: Kind, where: str, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """The result of ``make``; None, and a problem, if it raises."""
        try:
            return make(*args, **kwargs)
        except Vega3DError as error:
            self.add(kind, where, error)
        except (OSError, ValueError) as error:  # transformers' own, about a folder that it cannot use
            unusable = HostError(
                "Cannot use a part of the model.",
                got=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
                expected="folders or hub ids of a Qwen-VL and a generator",
                fix="check model.host and model.backbone.path; offline, download first and pass the folder",
            )
            self.add(kind, where, unusable)
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plan = asdict(self.plan) | {"peak": self.plan.peak} if self.plan is not None else None
        findings = [finding.to_dict() for finding in self.findings]
        return {"findings": findings, "files": self.files, "rows": asdict(self.rows), "plan": plan}
