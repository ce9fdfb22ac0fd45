"""Text form of a report: the rows, the cost of the run, and every problem with its place."""

from __future__ import annotations

from collections import Counter

from vega3d._utils.durations import in_time
from vega3d.training.validation import Options, Report
from vega3d.training.validation.plan import GIB

SHOWN = 20  # problems of a kind that are shown whole


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
