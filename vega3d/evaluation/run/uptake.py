"""Uptake: the share of what a probe reads from the features that a model's answers show.

    uptake = (arm - base) / (probe - base)

All three are accuracies on the same questions, never R2. ``base`` is a model without the features, ``arm``
the model with them, ``probe`` a classifier on the features alone. A probe that reads no more than the base
leaves the uptake undefined: its 95 % interval meets the base.

Decision: whole scenes are drawn, as in `compare.py`, and the interval of the ratio is Fieller's from the
covariance of the draws. It needs no division by a drawn difference, and it is finite exactly where the uptake
is defined. Source: Fieller 1954, "Some problems in interval estimation".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from vega3d._utils.files import write_whole
from vega3d.checkpoint.record import CARD_FILE, TRAINING
from vega3d.errors import InputError
from vega3d.evaluation.run.compare import DRAWS, TIE, cluster_means
from vega3d.evaluation.run.results import read_result

Rows = Sequence[Mapping[str, Any]]
UNDEFINED = "undefined"
HEADING = "## Uptake"
_Z = NormalDist().inv_cdf(0.975)
_EXPECTED = '{"id": "7", "score": 1.0}, one a question of the runs; or the folder of a finished run'


def uptake(
    arm: Rows, base: Rows, probe: Rows, groups: Mapping[str, str], *, draws: int = DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Uptake on the questions that all three have a score of.

    Args:
        arm, base: samples of two runs, with ``id``, ``kind``, ``scene`` and ``score``.
        probe: ``id`` and ``score``.
        groups: kinds that count as one in the mean, by the name of that one.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        JSON-ready: the macro means ``base``, ``arm`` and ``probe``, ``probe_gap_95`` (interval of probe minus
        base), ``uptake`` and ``interval_95`` (None if undefined), ``questions``, ``scenes``.

    Raises:
        InputError: no question has all three scores.
    """
    scores = [{row["id"]: row["score"] for row in rows if row["score"] is not None} for rows in (arm, probe)]
    known = [
        (row["kind"], row["scene"], (row["score"], *(each[row["id"]] for each in scores)))
        for row in base
        if row["score"] is not None and all(row["id"] in each for each in scores)
    ]
    if not known:
        raise InputError("Missing scores: no question has all three.", got="0 questions", expected=_EXPECTED)
    whole, drawn = cluster_means(known, groups, draws, seed)
    base_mean, arm_mean, probe_mean = (float(value) for value in whole)
    gain, gap = arm_mean - base_mean, probe_mean - base_mean
    values = {"base": base_mean, "arm": arm_mean, "probe": probe_mean}
    sizes = {"questions": len(known), "scenes": len({scene for _, scene, _ in known})}
    if drawn is None:
        return {**values, "probe_gap_95": None, "uptake": None, "interval_95": None, **sizes}
    gains, gaps = (np.round(side - drawn[0], TIE) for side in drawn[1:])
    interval = fieller(gain, gap, np.cov(np.stack([gains, gaps])))
    edges = [float(edge) for edge in np.nanpercentile(gaps, (2.5, 97.5))]
    is_defined = interval is not None and edges[0] > 0
    ratio = (
        {"uptake": gain / gap, "interval_95": interval}
        if is_defined
        else {"uptake": None, "interval_95": None}
    )
    return {**values, "probe_gap_95": edges, **ratio, **sizes}


def fieller(first: float, second: float, covariance: Any) -> list[float] | None:
    """95 % interval of ``first / second``; None if ``second`` does not lie above 0.

    Args:
        first, second: estimates.
        covariance: (2, 2) of both.
    """
    (a, ab), (_, b) = np.asarray(covariance, dtype=np.float64) * _Z**2
    scale = second**2 - b
    if second <= 0 or scale <= 0:
        return None
    middle = first * second - ab
    root = math.sqrt(max(0.0, middle**2 - scale * (first**2 - a)))
    return [(middle - root) / scale, (middle + root) / scale]


def read_probe(path: Path) -> list[dict[str, Any]]:
    """Scores of a probe by question: JSON Lines with ``id`` and ``score``, or the folder of a finished run.

    Raises:
        InputError: the file cannot be read, or a row has no id or no score from 0 to 1.
    """
    if path.is_dir():
        return [dict(row) for row in read_result(path)[1]]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise InputError(f"Cannot read the probe's scores {path}.", got=got, expected=_EXPECTED) from None
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, dict) and "id" in row and _is_share(row.get("score"))):
            raise InputError(f"Invalid score in {path.name}, line {number}.", got=row, expected=_EXPECTED)
    return [{"id": str(row["id"]), "score": float(row["score"])} for row in rows]


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def write_to_card(folder: Path, task: str, result: Mapping[str, Any]) -> Path:
    """Write the uptake of a task below the training report in a model's card; an earlier line is replaced.

    Args:
        folder: of the trained model.
        task: name of the task.
        result: of ``uptake``.

    Raises:
        InputError: the folder has no card with a training report.
    """
    file = folder / CARD_FILE
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    if TRAINING not in text:
        title, fix = f"Missing training report in {folder}.", "name the folder `final` of a run"
        raise InputError(
            title, got=f"no {CARD_FILE} with one", expected="the card of a trained model", fix=fix
        )
    start = f"- Uptake on `{task}`: "
    lines = [line for line in text.rstrip("\n").split("\n") if not line.startswith(start)]
    heading = [] if HEADING in lines else ["", HEADING, ""]
    text = "\n".join([*lines, *heading, f"{start}{shown(result)}", ""])
    return write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))


def shown(result: Mapping[str, Any]) -> str:
    """Uptake in one line: value, interval, and the three accuracies in percent."""
    values = ", ".join(f"{name} {100 * result[name]:.1f} %" for name in ("base", "arm", "probe"))
    if result["uptake"] is None:
        return f"{UNDEFINED}: the probe's interval meets the base ({values})"
    low, high = result["interval_95"]
    return f"{result['uptake']:.2f} (95 % {low:.2f} to {high:.2f}; {values})"
