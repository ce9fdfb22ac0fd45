"""The plots of a run as SVG, the same bytes for the same results.

They need matplotlib (``pip install 'vega3d[plots]'``). This module computes no statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.miniature.arms import ARMS
from experiments.miniature.config import PRIMARY
from vega3d._utils.files import write_whole
from vega3d.errors import DependencyError


def draw_all(folder: Path, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> list[Path]:
    """Every figure that the results allow; returns the files.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    makers = {"contrasts": _contrasts, "probes": _probes, "sweep": _sweep, "gain": _gain}
    found = (_draw(folder / f"{name}.svg", maker, results, analysis) for name, maker in makers.items())
    return [path for path in found if path is not None]


def _draw(file: Path, maker: Any, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> Path | None:
    pyplot, context = _pyplot()
    with context:
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        try:
            if not maker(axes, results, analysis):
                return None
            axes.margins(x=0.15, y=0.1)
            return write_whole(file, lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))
        finally:
            pyplot.close(figure)


def _pyplot() -> tuple[Any, Any]:
    try:
        import matplotlib
    except ImportError as error:
        raise DependencyError(
            "Figures need matplotlib.",
            got=str(error),
            expected="matplotlib",
            fix="pip install 'vega3d[plots]'",
        ) from error
    matplotlib.use("svg")
    from matplotlib import pyplot

    return pyplot, matplotlib.rc_context({"svg.hashsalt": "vega3d", "font.size": 9})


def _contrasts(axes: Any, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> bool:
    """Differences with their 95 % intervals, the deciding ones on top."""
    known = [one for one in reversed(analysis["contrasts"]) if one["interval"] is not None]
    for row, one in enumerate(known):
        low, high = one["interval"]
        colour = "C3" if "p_holm" in one else "C0"
        axes.plot([low, high], [row, row], color=colour)
        axes.plot([one["difference"]], [row], "o", color=colour)
    names = [f"{ARMS[one['arm']].title} – {ARMS[one['over']].title}" for one in known]
    axes.set_yticks(range(len(known)), names)
    axes.axvline(0, color="0.7", zorder=0)
    axes.set_xlabel("points on held-out rooms (95 % interval over rooms)")
    return bool(known)


def _probes(axes: Any, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> bool:
    """R2 of depth for each arm's features, ridge and MLP."""
    probes = results.get("probes", {})
    for shift, name in ((-0.15, "depth_ridge"), (0.15, "depth_mlp")):
        rows = [(at + shift, found[name]) for at, found in enumerate(probes.values()) if name in found]
        if rows:
            values, errors = ([pair[k] for _, pair in rows] for k in (0, 1))
            axes.errorbar(values, [at for at, _ in rows], xerr=errors, fmt="o", label=name.replace("_", ", "))
    axes.set_yticks(range(len(probes)), [ARMS[arm].title for arm in probes])
    axes.set_xlabel("R² of log depth over what the position says (± bootstrap over rooms)")
    if probes:
        axes.legend()
    return bool(probes)


def _sweep(axes: Any, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> bool:
    """R2 of depth by block, one line an encoder and noise level."""
    for encoder, found in results.get("sweep", {}).items():
        by_sigma: dict[str, list[tuple[int, float]]] = {}
        for key, (value, _) in found.items():
            block, sigma = key.split()
            by_sigma.setdefault(sigma, []).append((int(block), value))
        for sigma, points in sorted(by_sigma.items()):
            blocks, values = zip(*sorted(points), strict=True)
            style = "--" if encoder == "untrained" else "-"
            axes.plot(blocks, values, style, marker=".", label=f"{encoder}, σ = {sigma}")
    axes.set_xlabel("block")
    axes.set_ylabel("R² of log depth, ridge")
    if results.get("sweep"):
        axes.legend(fontsize=7)
    return bool(results.get("sweep"))


def _gain(axes: Any, results: Mapping[str, Any], analysis: Mapping[str, Any]) -> bool:
    """Each arm's consistency against its score less the host's; no line is fitted."""
    scores, probes = analysis["arms"][PRIMARY], results.get("probes", {})
    base = scores.get("host", {}).get("mean")
    known = [arm for arm in probes if scores.get(arm, {}).get("mean") is not None]
    if base is None or not known:
        return False
    for arm in known:
        (x, x_error), y = probes[arm]["consistency"], scores[arm]["mean"] - base
        axes.errorbar([x], [y], xerr=[x_error], fmt="o", color="C0")
        axes.annotate(ARMS[arm].title, (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
    axes.set_xlabel("consistency of features over frames")
    axes.set_ylabel("points over the host alone")
    return True
