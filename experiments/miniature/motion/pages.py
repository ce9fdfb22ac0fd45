"""Tables and figures of the motion run from its kept results. This module computes no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.miniature.figures import _pyplot
from experiments.miniature.motion.analysis import analyse
from experiments.miniature.motion.arms import ARMS, BY_CONSTRUCTION, SWAPPED
from experiments.miniature.tables import UNKNOWN, markdown
from vega3d._utils.files import make_folder, write_whole
from vega3d.evaluation.run.uptake import shown

MISSING = "The `motion` run has not been made yet.\n"
CAPTION = "Accuracy by training rooms; 50 is chance."


def report(results: Mapping[str, Any], folder: Path, place: str) -> tuple[str, list[Path]]:
    """The block of the page in Markdown, and its figures.

    Args:
        results: of a run.
        folder: for figures.
        place: of the folder in the page.
    """
    analysis = analyse(results)
    titled = {
        f"{steps} steps, {results['train']} training rooms": arms_table(analysis, steps, results["train"])
        for steps in analysis["lengths"]
    }
    titled["The video model's features over each arm, at the larger length"] = contrasts_table(
        analysis["contrasts"]
    )
    titled["Uptake: (arm - 50) / (probe - 50), at the larger length"] = uptake_table(analysis["uptake"])
    titled["By training rooms, at the larger length"] = curve_table(analysis)
    parts = ["".join(f"- {line}\n" for line in analysis["verdict"])]
    parts += [f"**{title}**\n\n{table}" for title, table in titled.items() if table]
    figure = _curve(folder / "curve.svg", analysis)
    if figure is not None:
        parts.append(f"![{CAPTION}]({place}/{figure.name})\n")
    return "\n".join(parts), [] if figure is None else [figure]


def arms_table(analysis: Mapping[str, Any], steps: int, rooms: int) -> str:
    """Mean and types of each arm, with the rows that are at 50 by construction."""
    known = [one for one in analysis["means"] if (one["steps"], one["rooms"]) == (steps, rooms)]
    known.sort(key=lambda one: -(one["mean"] or 0.0))
    kinds = sorted({kind for one in known for kind in one["types"]})
    rows = [
        [title(one["arm"]), _plus_minus(one["mean"], one["error"])]
        + [f"{one['types'][kind]:.1f}" for kind in kinds]
        + [UNKNOWN if one["both_right"] is None else f"{one['both_right']:.0f} %"]
        for one in known
    ]
    if all(kind.startswith("camera") for kind in kinds):
        rows += [
            [f"{name} (by construction)", "50", *("50" for _ in kinds), "0 %"] for name in BY_CONSTRUCTION
        ]
    return markdown(["arm", "mean", *(kind.replace("_", " ") for kind in kinds), "both twins right"], rows)


def contrasts_table(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Paired differences with their intervals."""
    rows = [
        [
            title(one["over"]),
            f"{one['difference']:+.1f}",
            UNKNOWN if one["interval"] is None else "{:+.1f} to {:+.1f}".format(*one["interval"]),
            f"{one['p']:.4f}",
        ]
        for one in contrasts
    ]
    return markdown(["over", "points", "95 %", "p, uncorrected"], rows)


def uptake_table(uptakes: Mapping[str, Mapping[str, Any]]) -> str:
    """One row an arm with stored features."""
    rows = [[title(arm), own["by"], shown(own)] for arm, own in uptakes.items()]
    return markdown(["arm", "probe", "uptake"], rows)


def curve_table(analysis: Mapping[str, Any]) -> str:
    """Means by number of training rooms, of arms with more than one."""
    curves = curves_of(analysis)
    counts = sorted({rooms for points in curves.values() for rooms in points})
    rows = [
        [title(arm), *(f"{points[n]:.1f}" if n in points else UNKNOWN for n in counts)]
        for arm, points in curves.items()
    ]
    return markdown(["arm", *(f"{n} rooms" for n in counts)], rows)


def curves_of(analysis: Mapping[str, Any]) -> dict[str, dict[int, float]]:
    """Arm -> training rooms -> mean, at the larger length."""
    curves: dict[str, dict[int, float]] = {}
    for one in analysis["means"]:
        if one["steps"] == analysis["lengths"][-1] and one["arm"] != SWAPPED:
            curves.setdefault(one["arm"], {})[one["rooms"]] = one["mean"]
    return {arm: points for arm, points in curves.items() if len(points) > 1}


def title(arm: str) -> str:
    """An arm in tables."""
    return ARMS[arm].title if arm in ARMS else f"Wan, video, window, {arm}"


def _plus_minus(value: float | None, error: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:.1f}" if error is None else f"{value:.1f} ± {error:.1f}"


def _curve(file: Path, analysis: Mapping[str, Any]) -> Path | None:
    curves = curves_of(analysis)
    if not curves:
        return None
    make_folder(file.parent)
    pyplot, context = _pyplot()
    with context:
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for arm, points in curves.items():
            axes.plot(sorted(points), [points[n] for n in sorted(points)], "o-", label=title(arm))
        axes.axhline(50, color="0.7", zorder=0)
        axes.set_xscale("log")
        axes.set_xlabel("training rooms")
        axes.set_ylabel("accuracy, percent")
        axes.legend()
        try:
            return write_whole(file, lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))
        finally:
            pyplot.close(figure)
