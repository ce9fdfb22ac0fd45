"""Difference between two runs: the same questions, paired, and a bootstrap over whole scenes.

Decision: a paired bootstrap that draws scenes. Questions about one scene share its luck, so an
interval from questions is too narrow. A question counts only if both runs answered it; the number of
others is given. Drawn are the macro mean (every kind counts the same) and the micro mean. Runs of two tasks,
or on different data, are refused.

Source: Efron and Tibshirani 1993, chapter 6 (percentile interval); Cameron, Gelbach and Miller 2008, pairs
cluster bootstrap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import InputError
from vega3d.evaluation.benchmarks import load_protocol
from vega3d.evaluation.run.results import read_result

DRAWS = 10_000
TIE = 12  # decimals: sums round differently with another number of BLAS threads, and a tie has to stay one
Matrix = NDArray[np.float64]
Result = dict[str, Any]


def compare(
    first: Path, second: Path, *, draws: int = DRAWS, seed: int = 0, probe: Path | None = None
) -> dict[str, Any]:
    """The second run's means minus the first's.

    Args:
        first: folder of a finished run.
        second: folder of another one, of the same task and data.
        draws: bootstrap samples.
        seed: of the draws.
        probe: a probe's scores on the same questions, see `uptake.py`.

    Returns:
        JSON-ready: both means, difference (second minus first, 0..1), its 95 % interval and the share of
        draws in which the second is not better, for ``macro`` and ``micro``; ``kinds`` with differences. With
        ``probe`` also ``uptake``, the second run's over the first.

    Raises:
        InputError: a run is not finished, or the two do not compare.
    """
    (result, rows), (other, other_rows) = read_result(first), read_result(second)
    _require_same(result, other)
    pairs = paired(rows, other_rows)
    groups = load_protocol(result["task"]).benchmark.groups
    return {
        "task": result["task"],
        "paired": len(pairs),
        "left_out": len({row["id"] for row in (*rows, *other_rows)}) - len(pairs),
        "scenes": len({scene for _, scene, _, _ in pairs}),
        "draws": draws,
        "seed": seed,
        **differences(pairs, groups, draws, seed),
        **_uptake(rows, other_rows, groups, draws, seed, probe),
    }


def _uptake(
    base: Sequence[Mapping[str, Any]],
    arm: Sequence[Mapping[str, Any]],
    groups: Mapping[str, str],
    draws: int,
    seed: int,
    probe: Path | None,
) -> Result:
    if probe is None:
        return {}
    from vega3d.evaluation.run.uptake import read_probe, uptake

    return {"uptake": uptake(arm, base, read_probe(probe), groups, draws=draws, seed=seed)}


Pair = tuple[str, str, float, float]


def paired(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> list[Pair]:
    """(kind, scene, score, score) of the questions that both runs have a score of."""
    others = {row["id"]: row["score"] for row in second if row["score"] is not None}
    return [
        (row["kind"], row["scene"], row["score"], others[row["id"]])
        for row in first
        if row["score"] is not None and row["id"] in others
    ]


def differences(
    pairs: Sequence[Pair], groups: Mapping[str, str], draws: int = DRAWS, seed: int = 0
) -> Result:
    """Means, differences and intervals of paired scores; intervals are None below two scenes."""
    kinds = sorted({kind for kind, _, _, _ in pairs})
    scenes = sorted({scene for _, scene, _, _ in pairs})
    counts, sums = np.zeros((len(scenes), len(kinds))), np.zeros((2, len(scenes), len(kinds)))
    for kind, scene, first, second in pairs:
        cell = scenes.index(scene), kinds.index(kind)
        counts[cell] += 1
        sums[:, *cell] += first, second
    drawn, whole = _draws(len(scenes), draws, seed), np.ones((1, len(scenes)))
    group_of = [groups.get(kind, kind) for kind in kinds]
    result: dict[str, Any] = {}
    for name, mean in (("macro", partial(_macro, group_of=group_of)), ("micro", _micro)):
        means = [float(mean(whole, counts, part)[0]) if pairs else None for part in sums]
        spread = [mean(drawn, counts, part) for part in sums] if len(scenes) > 1 else None
        result[name] = _difference(means, spread)
    gains = (sums[1] - sums[0]).T  # (kinds, scenes)
    per_kind = zip(kinds, gains, counts.sum(axis=0), strict=True)
    return {**result, "kinds": {kind: float(gain.sum() / count) for kind, gain, count in per_kind}}


def cluster_means(
    rows: Sequence[tuple[str, str, Sequence[float]]],
    groups: Mapping[str, str],
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Matrix, Matrix | None]:
    """Macro means of several scores of the same questions: of all scenes, and of drawn ones.

    Args:
        rows: kind, scene and scores of each question.
        groups: kinds that count as one, by the name of that one.
        draws: bootstrap samples.
        seed: of the draws.

    Returns:
        (scores,) and (scores, draws); None for the latter below two scenes.
    """
    kinds, scenes = sorted({kind for kind, _, _ in rows}), sorted({scene for _, scene, _ in rows})
    count = len(rows[0][2])
    counts, sums = np.zeros((len(scenes), len(kinds))), np.zeros((count, len(scenes), len(kinds)))
    for kind, scene, scores in rows:
        cell = scenes.index(scene), kinds.index(kind)
        counts[cell] += 1
        sums[:, *cell] += scores
    group_of = [groups.get(kind, kind) for kind in kinds]
    ones = np.ones((1, len(scenes)))
    whole = np.stack([_macro(ones, counts, part, group_of)[0] for part in sums])
    if len(scenes) < 2:
        return whole, None
    drawn = _draws(len(scenes), draws, seed)
    return whole, np.stack([_macro(drawn, counts, part, group_of) for part in sums])


def _difference(means: Sequence[float | None], spread: Sequence[Matrix] | None) -> dict[str, Any]:
    first, second = means
    difference = None if first is None or second is None else second - first
    interval, not_better = None, None
    if spread is not None:
        drawn = np.round(spread[1] - spread[0], TIE)
        interval = [float(edge) for edge in np.nanpercentile(drawn, (2.5, 97.5))]
        not_better = float(np.mean(drawn[~np.isnan(drawn)] <= 0))
    result = {"first": first, "second": second, "difference": difference}
    return {**result, "interval_95": interval, "not_better": not_better}


def _draws(scenes: int, draws: int, seed: int) -> Matrix:
    """(draws, scenes): how often each scene is drawn."""
    if scenes == 0:
        return np.zeros((draws, 0))
    chances = np.full(scenes, 1 / scenes)
    return np.random.default_rng(seed).multinomial(scenes, chances, size=draws).astype(np.float64)


def _micro(drawn: Matrix, counts: Matrix, sums: Matrix) -> Matrix:
    return np.asarray((drawn @ sums.sum(axis=1)) / (drawn @ counts.sum(axis=1)))


def _macro(drawn: Matrix, counts: Matrix, sums: Matrix, group_of: Sequence[str]) -> Matrix:
    """Means of kinds, then of groups; a kind that was not drawn is left out."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn @ sums) / (drawn @ counts)  # (draws, kinds)
    members = [[n for n, name in enumerate(group_of) if name == group] for group in sorted(set(group_of))]
    return _mean(np.stack([_mean(means[:, columns]) for columns in members], axis=1))


def _mean(values: Matrix) -> Matrix:
    """Mean over the last axis of what is there; NaN where nothing is."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, values, 0).sum(axis=1) / there.sum(axis=1))


def _require_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    values = [{"task": run["task"], "data": run["provenance"].get("data")} for run in (first, second)]
    for name in ("task", "data"):
        if values[0][name] != values[1][name]:
            got, fix = [value[name] for value in values], "run both with the same --tasks, --data and --limit"
            raise InputError(f"Invalid pair: different {name}.", got=got, expected="one value", fix=fix)
