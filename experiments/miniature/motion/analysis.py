"""From the scores of a motion run to means, gate, P1, P2 and uptake, as the plan says; JSON in, JSON out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.miniature.analysis import EDGE, contrast, holm, mean_of
from experiments.miniature.motion.arms import ARMS, HOSTS, RIVALS, SWAPPED, VIDEO
from experiments.miniature.packing import unpacked
from experiments.miniature.power import LEVEL
from vega3d.evaluation.run.uptake import uptake

Scores = dict[str, list[float | None]]
TRUE, CHANCE = "true_motion", 0.5
GATE, NEAR = 90.0, 5.0


def analyse(results: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that tables and figures show.

    Args:
        results: ``questions`` as (id, room, type); ``draws``; ``train``: number of training rooms; ``runs``:
            arm, steps, rooms, seed, packed ``scores`` and ``swapped`` scores; ``probes``: by arm.
    """
    questions, draws, whole = results["questions"], int(results["draws"]), int(results["train"])
    scores = scores_of(results["runs"])
    lengths = sorted({steps for _, steps, _ in scores})
    means = [_mean(questions, key, found) for key, found in scores.items()]
    primary = {
        arm: found for (arm, steps, rooms), found in scores.items() if (steps, rooms) == (lengths[-1], whole)
    }
    contrasts = [_contrast(questions, primary, pair, draws) for pair in _pairs(questions, primary)]
    deciding = decided(contrasts, questions, primary)
    return {
        "means": means,
        "gate": gate(means, whole),
        "contrasts": contrasts,
        "primary": deciding,
        "uptake": _uptakes(questions, primary, results.get("probes", {}), draws),
        "lengths": lengths,
        "verdict": verdict(gate(means, whole), deciding),
    }


def scores_of(runs: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, int], Scores]:
    """(arm, steps, training rooms) -> seed -> scores; another room's features are an arm of their own."""
    found: dict[tuple[str, int, int], Scores] = {}
    for run in runs:
        for name, arm in (("scores", run["arm"]), ("swapped", SWAPPED)):
            if run.get(name):
                key = (arm, run["steps"], run["rooms"])
                found.setdefault(key, {})[str(run["seed"])] = unpacked(run[name])
    return found


def both_right(questions: Sequence[Sequence[str]], scores: Scores) -> float | None:
    """Share of pairs of questions with both answers right, in percent, over seeds; None without twins."""
    pairs: dict[tuple[str, str, str], list[float]] = {}
    for seed, values in scores.items():
        for (_, room, kind), value in zip(questions, values, strict=True):
            pairs.setdefault((seed, room, kind), []).append(value or 0.0)
    whole = [float(all(values)) for values in pairs.values() if len(values) == 2]
    return 100 * sum(whole) / len(whole) if whole else None


def _mean(questions: Any, key: tuple[str, int, int], scores: Scores) -> dict[str, Any]:
    kinds = sorted({kind for _, _, kind in questions})
    by_type = {}
    for kind in kinds:
        places = [place for place, row in enumerate(questions) if row[2] == kind]
        values = [value for found in scores.values() for value in (found[place] for place in places)]
        by_type[kind] = 100 * sum(value or 0.0 for value in values) / max(1, len(values))
    arm, steps, rooms = key
    own = {"arm": arm, "steps": steps, "rooms": rooms, "types": by_type}
    return mean_of(questions, scores) | own | {"both_right": both_right(questions, scores)}


def _pairs(questions: Any, scores: Mapping[str, Scores]) -> list[tuple[str, str]]:
    """Video over every other arm, and each over video's own row of another room."""
    if VIDEO not in scores:
        return []
    return [(VIDEO, arm) for arm in (*ARMS, SWAPPED) if arm in scores and arm != VIDEO]


def _contrast(
    questions: Any, scores: Mapping[str, Scores], pair: tuple[str, str], draws: int
) -> dict[str, Any]:
    return contrast(questions, scores, pair, draws)


def decided(
    contrasts: Sequence[dict[str, Any]], questions: Any, scores: Mapping[str, Scores]
) -> dict[str, Any]:
    """P1 and P2 with Holm's correction; a comparison whose arms are missing is None."""
    by_arm = {one["over"]: one for one in contrasts}
    hosts = [name for name in HOSTS if name in by_arm]
    first = None
    if len(hosts) == len(HOSTS):
        better = max(hosts, key=lambda name: mean_of(questions, scores[name])["mean"] or 0.0)
        first = dict(by_arm[better])
    second = None
    if all(name in by_arm for name in RIVALS):
        second = dict(max((by_arm[name] for name in RIVALS), key=lambda one: _p_better(one)))
        second["p"] = max(_p_better(by_arm[name]) for name in RIVALS)
        second["each"] = {name: by_arm[name]["difference"] for name in RIVALS}
    found = {name: one for name, one in (("P1", first), ("P2", second)) if one is not None}
    for one, p in zip(found.values(), holm([one["p"] for one in found.values()]), strict=True):
        one["p_holm"] = p
    for name, one in found.items():
        rivals = [by_arm[rival] for rival in RIVALS] if name == "P2" else [one]
        is_large = all(each["difference"] > EDGE * _error(each) for each in rivals)
        one["found"] = bool(one["p_holm"] < LEVEL and is_large)
    return {"P1": first, "P2": second}


def _p_better(one: Mapping[str, Any]) -> float:
    """p of a lead; 1 if there is none."""
    return float(one["p"]) if one["difference"] > 0 else 1.0


def _error(one: Mapping[str, Any]) -> float:
    return math.inf if one["error"] is None else float(one["error"])


def gate(means: Sequence[Mapping[str, Any]], whole: int) -> dict[str, Any]:
    """The gate of the plan: true motion reaches 90 on every type, another room's features stay near 50."""
    true = [one for one in means if one["arm"] == TRUE and one["rooms"] == whole]
    other = [one for one in means if one["arm"] == SWAPPED and one["rooms"] == whole]
    lowest = min((value for one in true for value in one["types"].values()), default=None)
    farthest = max((abs(one["mean"] - 50) for one in other), default=None)
    is_open = lowest is not None and farthest is not None and lowest >= GATE and farthest <= NEAR
    return {"true_motion": lowest, "another_rooms": farthest, "open": is_open}


def _uptakes(
    questions: Any, scores: Mapping[str, Scores], probes: Mapping[str, Any], draws: int
) -> dict[str, Any]:
    """Uptake of each arm with stored features, at the largest length; the base is at 50 by construction."""
    found = {}
    for arm, own in probes.items():
        if arm in scores:
            base = _rows(questions, [CHANCE] * len(questions))
            mean = [
                sum(v or 0.0 for v in values) / len(values)
                for values in zip(*scores[arm].values(), strict=True)
            ]
            probe = _rows(questions, unpacked(own[own["best"]]))
            found[arm] = uptake(_rows(questions, mean), base, probe, {}, draws=draws) | {"by": own["best"]}
    return found


def _rows(questions: Sequence[Sequence[str]], scores: Sequence[float | None]) -> list[dict[str, Any]]:
    return [
        {"id": number, "scene": room, "kind": kind, "score": score}
        for (number, room, kind), score in zip(questions, scores, strict=True)
    ]


def verdict(opened: Mapping[str, Any], primary: Mapping[str, Any]) -> list[str]:
    """Statements of the plan about the run, one sentence each."""
    if not opened["open"]:
        return ["The gate is closed: this run cannot speak about P1 and P2."]
    words = ["The gate is open: true motion is read, and another room's features are at chance."]
    titles = {
        "P1": "fusion over the better host with the same five frames",
        "P2": "video over twin, latents and small encoder",
    }
    for name, title in titles.items():
        one = primary[name]
        if one is None:
            words.append(f"{name}, {title}: not part of this run.")
            continue
        low, high = one["interval"] or (-math.inf, math.inf)
        state = "found" if one["found"] else "not found"
        points = f"{one['difference']:+.2f} points, 95 % {low:+.2f} to {high:+.2f}"
        words.append(f"{name}, {title}: {state} ({points}; p {one['p_holm']:.4f}).")
    return words
