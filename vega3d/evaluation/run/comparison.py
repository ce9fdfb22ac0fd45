"""The page of two runs: their numbers beside each other, and both answers to every question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vega3d._utils.page import render
from vega3d.evaluation.run.checksums import write_text
from vega3d.evaluation.run.compare import compare
from vega3d.evaluation.run.percent import FEWEST, interval, percent, points
from vega3d.evaluation.run.report import MOST, facts, sample
from vega3d.evaluation.run.results import read_result
from vega3d.evaluation.run.uptake import UNDEFINED

CHANGES = ("better", "worse", "different", "equal")
Row = Mapping[str, Any]


def write_comparison(first: Path, second: Path, file: Path, differences: Row | None = None) -> Path:
    """Write the page of two finished runs of one task.

    Args:
        first: folder of run A.
        second: folder of run B.
        file: the page.
        differences: result of ``compare``; None computes it.

    Raises:
        InputError: a run is not finished, or the two do not compare.
    """
    differences = compare(first, second) if differences is None else differences
    names = (_name(first), _name(second))
    return write_text(file, page(names, read_result(first), read_result(second), differences))


def page(
    names: tuple[str, str],
    first: tuple[Row, Sequence[Row]],
    second: tuple[Row, Sequence[Row]],
    differences: Row,
) -> str:
    """The comparison as one self-contained HTML file."""
    (result, rows), (other, other_rows) = first, second
    others = {row["id"]: row for row in other_rows}
    pairs = [_pair(row, others[row["id"]]) for row in rows if row["id"] in others]
    pairs.sort(key=lambda pair: CHANGES.index(pair["change"]))  # stable
    values = {
        "names": names,
        "facts": [(name, value, dict(facts(other)).get(name, "–")) for name, value in facts(result)],
        "differences": _differences(result, other, differences),
        "kinds": list(result["kinds"]),
        "changes": CHANGES,
        "samples": pairs[:MOST],
        "more": len(pairs[MOST:]),
        "fewest": FEWEST,
        **{name: differences[name] for name in ("paired", "left_out", "scenes")},
    }
    title = f"{result['task']}: {names[0]} and {names[1]}"
    return render("evaluation/run/comparison.html", title, assets="evaluation/run/report.html", **values)


def _name(folder: Path) -> str:
    """The last two parts of a run's folder: the run and its task."""
    return "/".join(folder.resolve().parts[-2:])


def _pair(row: Row, other: Row) -> dict[str, Any]:
    """Values of the template for one question that both runs asked."""
    sides = [sample(side, with_frames=False) for side in (row, other)]
    return {**sides[0], "sides": sides, "change": _change(row, other)}


def _change(row: Row, other: Row) -> str:
    """One of ``CHANGES``, from the first run to the second; an error counts as no score."""
    first, second = row["score"] or 0.0, other["score"] or 0.0
    if first != second:
        return "better" if second > first else "worse"
    return "equal" if (row["output"], row["error"]) == (other["output"], other["error"]) else "different"


def _uptake(values: Row) -> tuple[object, ...]:
    """The row of the uptake: a share of the probe's gap, and no difference."""
    questions = values["questions"]
    means = [percent(values[name], questions) for name in ("base", "arm")]
    if values["uptake"] is None:
        return ("uptake", *means, UNDEFINED, "–", questions)
    edges = "{:.2f} to {:.2f}".format(*values["interval_95"])
    return (
        f"uptake (probe {percent(values['probe'], questions)})",
        *means,
        f"{values['uptake']:.2f}",
        edges,
        questions,
    )


def _differences(result: Row, other: Row, differences: Row) -> list[tuple[object, ...]]:
    """Rows of the table: means, differences, intervals and numbers of questions."""
    questions = differences["paired"]
    rows: list[tuple[object, ...]] = [
        (
            f"{name} mean",
            percent(differences[name]["first"], questions),
            percent(differences[name]["second"], questions),
            points(differences[name]["difference"], questions),
            interval(differences[name], questions) or "–",
            questions,
        )
        for name in ("macro", "micro")
    ]
    if "uptake" in differences:
        rows.append(_uptake(differences["uptake"]))
    for kind, difference in differences["kinds"].items():
        means = [run["kinds"].get(kind, {"mean": None, "n": 0}) for run in (result, other)]
        count = min(mean["n"] for mean in means)
        shown = [percent(mean["mean"], mean["n"]) for mean in means]
        rows.append((kind, *shown, points(difference, count), "–", count))
    return rows
