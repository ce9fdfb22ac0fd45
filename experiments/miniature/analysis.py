"""From scores to means, paired differences and a verdict, as the plan says; JSON in, JSON out.

The bootstrap over whole rooms, the means of question types and the errors clustered by room are the
library's own (``vega3d.evaluation.run``). This module adds the mean over seeds, the spread between
seeds, Holm's correction and the words. It reads no file and draws nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.miniature.arms import ARMS, FURTHER_CONTRASTS, PRIMARY_CONTRASTS
from experiments.miniature.config import PRIMARY
from experiments.miniature.packing import unpacked
from experiments.miniature.power import LEVEL, Spread, said
from vega3d.evaluation import load_benchmark
from vega3d.evaluation.run.compare import differences, paired
from vega3d.evaluation.run.results import means_of
from vega3d.evaluation.run.standard_errors import clustered_error, macro_weights

Row = dict[str, Any]
Scores = Mapping[str, Sequence[float | None]]
"""Seed to the score of each question, in the order of the questions; in files packed as text."""
OWN, SWAPPED = "own", "swapped"
EDGE = 1.96  # standard errors that a primary difference has to exceed


def analyse(results: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that tables and figures show, from the results of a run.

    Args:
        results: ``questions`` of each set, as (id, scene, kind); ``scores``: set, arm, seed to a list;
            ``draws``; ``failed``: arms whose training diverged, with their seeds; ``swapped``: arm, seed to
            the scores with another clip's features, of the primary set; ``blind``: set, kind to the best
            ``constant`` answer's share.

    Returns:
        ``arms``: for each set and arm mean, error and seeds' means, in points; ``types``: for each arm mean
        and error of each question type of the primary set; ``contrasts`` of the primary set; ``elsewhere``:
        the deciding ones on each other set; ``swapped``: what each arm has over itself with another clip's
        features; ``blind``: of each set the best constant answers; ``verdict`` and ``power``, in words.
    """
    questions, draws = results["questions"], int(results["draws"])
    scores = {name: _usable(own, results.get("failed", {})) for name, own in results["scores"].items()}
    primary = [
        contrast(questions[PRIMARY], scores[PRIMARY], pair, draws)
        for pair in (*PRIMARY_CONTRASTS, *FURTHER_CONTRASTS)
        if {*pair} <= {*scores[PRIMARY]}
    ]
    deciding = [one for one in primary if (one["arm"], one["over"]) in PRIMARY_CONTRASTS]
    for one, p in zip(deciding, holm([one["p"] for one in deciding]), strict=True):
        one["p_holm"] = p
        error = math.inf if one["error"] is None else one["error"]
        one["found"] = bool(p < LEVEL and abs(one["difference"]) > EDGE * error)
    arms = {
        name: {arm: mean_of(questions[name], own) for arm, own in found.items()}
        for name, found in scores.items()
    }
    blind = {name: _blind(own) for name, own in results.get("blind", {}).items()}
    return {
        "arms": arms,
        "types": {arm: _types(questions[PRIMARY], own) for arm, own in scores[PRIMARY].items()},
        "blind": blind,
        "contrasts": primary,
        "elsewhere": {
            name: [
                contrast(questions[name], found, pair, draws)
                for pair in PRIMARY_CONTRASTS
                if {*pair} <= {*found} and questions[name]
            ]
            for name, found in scores.items()
            if name != PRIMARY
        },
        "swapped": [
            contrast(questions[PRIMARY], {OWN: scores[PRIMARY][arm], SWAPPED: own}, (OWN, SWAPPED), draws)
            | {"arm": arm, "over": arm}
            for arm, own in _usable(results.get("swapped", {}), results.get("failed", {})).items()
        ],
        "power": [
            f"{ARMS[one['arm']].title} over {ARMS[one['over']].title}: "
            + said(Spread.measured(one), one["rooms"], len(one["seeds"]))
            for one in deciding
            if one["error_rooms"] is not None
        ],
        "verdict": [
            *verdict(primary),
            *_beside_blind(arms[PRIMARY], blind.get(PRIMARY, {}).get("mean")),
            *_failures(results.get("failed", {})),
        ],
    }


def _usable(scores: Mapping[str, Scores], failed: Mapping[str, Sequence[str]]) -> dict[str, Scores]:
    """Arms without those that failed with some seed: the plan leaves them out of all contrasts."""
    return {
        arm: {seed: unpacked(own) if isinstance(own, str) else own for seed, own in scores[arm].items()}
        for arm in ARMS
        if arm in scores and not failed.get(arm)
    }


def _beside_blind(arms: Mapping[str, Mapping[str, Any]], constant: float | None) -> list[str]:
    """The scores of the arms, and what answers score that look at nothing."""
    known = [own["mean"] for own in arms.values() if own["mean"] is not None]
    if constant is None or not known:
        return []
    return [
        f"The best constant answers, which look at nothing, score {constant:.1f}; "
        f"the arms score {min(known):.1f} to {max(known):.1f}."
    ]


def _failures(failed: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{ARMS[arm].title}: diverged with seed {', '.join(seeds)}, and is left out."
        for arm, seeds in failed.items()
        if seeds
    ]


def _types(questions: Sequence[Sequence[str]], scores: Scores) -> dict[str, tuple[float, float | None]]:
    """Question type to its mean over seeds and the error over rooms, in points."""
    found = means_of(rows_of(questions, scores), {})["kinds"]
    return {
        kind: (100 * own["mean"], None if (error := own["standard_error"]) is None else 100 * error)
        for kind, own in found.items()
    }


def _blind(kinds: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    """The best constant answers, in points: of each type, and their mean as the arms' scores are."""
    known = {kind: 100 * best for kind, own in kinds.items() if (best := own["constant"]) is not None}
    weights = macro_weights([*known], load_benchmark("vsibench").groups)
    whole = float(sum(w * best for w, best in zip(weights, known.values(), strict=True)))
    return {"mean": whole if known else None, "types": known}


def rows_of(questions: Sequence[Sequence[str]], scores: Scores) -> list[Row]:
    """One row a question with its mean over seeds; None where a seed has no score."""
    found = []
    for at, (number, scene, kind) in enumerate(questions):
        own = [by_seed[at] for by_seed in scores.values()]
        known = [score for score in own if score is not None]
        mean = statistics.fmean(known) if len(known) == len(own) and known else None
        found.append({"id": number, "scene": scene, "kind": kind, "score": mean})
    return found


def mean_of(questions: Sequence[Sequence[str]], scores: Scores) -> dict[str, Any]:
    """Macro mean in points, its standard error over rooms, each seed's mean, and the errors together."""
    merged = load_benchmark("vsibench").groups
    whole = means_of(rows_of(questions, scores), merged)["macro"]
    seeds = {
        seed: means_of(rows_of(questions, {seed: own}), merged)["macro"]["mean"]
        for seed, own in scores.items()
    }
    known = [100 * mean for mean in seeds.values() if mean is not None]
    rooms = None if whole["standard_error"] is None else 100 * whole["standard_error"]
    return {
        "mean": None if whole["mean"] is None else 100 * whole["mean"],
        "error": together(rooms, known),
        "error_rooms": rooms,
        "seeds": known,
        "questions": whole["n"],
        "rooms": whole["scenes"],
    }


def contrast(
    questions: Sequence[Sequence[str]], scores: Mapping[str, Scores], pair: tuple[str, str], draws: int
) -> dict[str, Any]:
    """The lead of ``pair[0]`` over ``pair[1]``, in points: the plan's interval, p and standard error."""
    merged = load_benchmark("vsibench").groups
    arm, over = pair
    one, two = rows_of(questions, scores[over]), rows_of(questions, scores[arm])
    pairs = paired(one, two)
    forward = differences(pairs, merged, draws)
    backward = differences(paired(two, one), merged, draws)  # the same draws, the other way round
    macro = forward["macro"]
    seeds = [
        100 * found
        for seed in scores[arm]
        if seed in scores[over]
        and (found := _difference_of_seed(questions, scores, pair, seed, merged)) is not None
    ]
    gaps = [second - first for _, _, first, second in pairs]
    kinds = [kind for kind, _, _, _ in pairs]
    error = clustered_error(gaps, macro_weights(kinds, merged), kinds, [scene for _, scene, _, _ in pairs])
    interval = macro["interval_95"]
    sides = (macro["not_better"], backward["macro"]["not_better"])
    return {
        "arm": arm,
        "over": over,
        "difference": 0.0 if macro["difference"] is None else 100 * macro["difference"],
        "interval": None if interval is None else [100 * edge for edge in interval],
        "error": together(None if error is None else 100 * error, seeds),
        "error_rooms": None if error is None else 100 * error,
        "rooms": len({scene for _, scene, _, _ in pairs}),
        "p": two_sided(sides, draws),
        "seeds": seeds,
        "types": {kind: 100 * value for kind, value in forward["kinds"].items()},
        "questions": len(pairs),
        "left_out": len(questions) - len(pairs),
    }


def _difference_of_seed(
    questions: Sequence[Sequence[str]],
    scores: Mapping[str, Scores],
    pair: tuple[str, str],
    seed: str,
    merged: Mapping[str, str],
) -> float | None:
    one, two = (rows_of(questions, {seed: scores[name][seed]}) for name in (pair[1], pair[0]))
    known = paired(one, two)
    if not known:
        return None
    weights = macro_weights([kind for kind, _, _, _ in known], merged)
    return float(sum(w * (b - a) for w, (_, _, a, b) in zip(weights, known, strict=True)))


def together(rooms: float | None, seeds: Sequence[float]) -> float | None:
    """sqrt(SE_rooms^2 + SD_seeds^2 / S); None where the rooms say nothing, as one room does."""
    if rooms is None:
        return None
    spread = statistics.stdev(seeds) if len(seeds) > 1 else 0.0
    return math.sqrt(rooms**2 + spread**2 / max(1, len(seeds)))


def two_sided(sides: tuple[float | None, float | None], draws: int) -> float:
    """p of a bootstrap: twice the smaller share of draws on a side of 0, never below 1 / draws."""
    first, second = sides
    if first is None or second is None:
        return 1.0
    return min(1.0, max(1.0 / draws, 2 * min(first, second)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = sorted(range(len(ps)), key=lambda at: ps[at])
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[at]))
        corrected[at] = largest
    return corrected


def verdict(contrasts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Statements of the plan about the run, one sentence each."""
    by_pair = {(one["arm"], one["over"]): one for one in contrasts}
    words = []
    check = by_pair.get(("oracle", "host_twice"))
    if check is not None and check["interval"] is not None and check["interval"][0] > 0:
        words.append(
            "The instrument's check holds: oracle coordinates help "
            "({difference:+.2f} points, 95 % {interval[0]:+.2f} to {interval[1]:+.2f}).".format(**check)
        )
    else:
        words.append(
            "The instrument's check fails: oracle coordinates are not shown to help. "
            "This run cannot speak about the two questions."
        )
    for pair in PRIMARY_CONTRASTS:
        one = by_pair.get(pair)
        names = f"{ARMS[pair[0]].title} over {ARMS[pair[1]].title}"
        if one is None:
            words.append(f"{names}: not part of this run.")
        else:
            word = "found" if one["found"] else "not found"
            low, high = one["interval"] or (-math.inf, math.inf)
            sign = "" if one["difference"] > 0 or not one["found"] else ", for the worse"
            words.append(
                f"{names}: {word}{sign} ({one['difference']:+.2f} points, 95 % {low:+.2f} to {high:+.2f})."
            )
    return words
