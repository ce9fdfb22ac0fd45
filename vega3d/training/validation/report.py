"""Result of a validation: every problem with its place, the rows, and the cost of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, ParamSpec, TypeVar

from vega3d._utils.durations import in_time
from vega3d.errors import HostError, Vega3DError
from vega3d.training.validation.plan import GIB, Options, Plan
from vega3d.training.validation.rows import Kind, Lengths

P = ParamSpec("P")
T = TypeVar("T")
SHOWN = 20  # problems of a kind that are shown whole


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
            got = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            expected = "folders or hub ids of a Qwen-VL and a generator"
            fix = "check model.host and model.backbone.path; offline, download first and pass the folder"
            unusable = HostError("Cannot use a part of the model.", got=got, expected=expected, fix=fix)
            self.add(kind, where, unusable)
        return None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plan = asdict(self.plan) | {"peak": self.plan.peak} if self.plan is not None else None
        findings = [finding.to_dict() for finding in self.findings]
        return {"findings": findings, "files": self.files, "rows": asdict(self.rows), "plan": plan}


# ---------------------------------------------------------------- as text


def as_text(report: Report, options: Options) -> str:
    """The whole report."""
    sections = [_data(report), _run(report, options), _problems(report)]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _data(report: Report) -> list[str]:
    seen, lines = report.rows, [f"{name}: {count:,} rows an epoch" for name, count in report.files.items()]
    if seen.lengths:
        ordered = sorted(seen.lengths)
        middle, longest = ordered[len(ordered) // 2], ordered[-1]
        share = seen.trained / sum(seen.lengths)
        lines.append(
            f"{seen.checked:,} rows opened: {middle:,} tokens in the middle, {longest:,} at most, "
            f"{share:.1%} of them trained on"
        )
    if seen.truncated:
        lines.append(f"{seen.truncated:,} rows lose the end of their text (overlong: truncate)")
    if seen.stored or seen.lacking:
        whole = seen.stored + seen.lacking
        lines.append(f"store: {seen.stored:,} of {whole:,} clips ({seen.stored / whole:.1%})")
    return lines


def _run(report: Report, options: Options) -> list[str]:
    plan = report.plan
    if plan is None:
        return []
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.memory.items())
    lines = [
        f"{plan.trained:,} parameters are trained, {plan.frozen:,} of the host are frozen",
        f"{plan.steps:,} steps of {plan.batch} rows on {options.gpus} GPUs",
        f"memory on each, GiB: {plan.peak / GIB:.2f} ({parts}); libraries and fragments come on top",
        f"{in_time(3600 * plan.hours)}, if each GPU reaches {plan.tflops:g} TFLOP/s: assumed, not measured "
        "(--tflops)",
    ]
    if plan.row_seconds is not None and plan.hours:
        needed = plan.batch * plan.steps / (plan.hours * 3600)
        workers = needed * plan.row_seconds
        lines.append(
            f"data: a worker needs {plan.row_seconds:.3f} s a row here; {workers:.1f} such workers keep up"
        )
    return lines


def _problems(report: Report) -> list[str]:
    counts = Counter(finding.kind for finding in report.findings)
    if not counts:
        return ["no problem was found"]
    lines, shown = [], Counter[str]()
    for finding in report.findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= SHOWN:
            lines.append(f"[{finding.kind}] {finding.where}: {finding.error}")
    left = sum(max(count - SHOWN, 0) for count in counts.values())
    if left:
        lines.append(f"{left:,} more are in --json")
    summary = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return [*lines, "", f"{len(report.findings):,} problems: {summary}"]
