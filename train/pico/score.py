"""Scores of answers in VSI-Bench's way, and what blind guessing reaches.

Chance: 1 / options (numeric types have none). Frequency: the best constant answer for the *question text*
where training asked that text often enough, else for the type; it sees no pixels.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

NUMERIC = {"object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation",
           "count", "distance", "size", "area"}  # fmt: skip
CHANCE = {
    "object_rel_distance": 1 / 4, "object_rel_direction_easy": 1 / 2, "object_rel_direction_medium": 1 / 3,
    "object_rel_direction_hard": 1 / 4, "obj_appearance_order": 1 / 4, "route_planning": 0.289,
    "exists": 1 / 2, "closer": 1 / 2, "side": 1 / 2, "first": 1 / 2,
}  # fmt: skip
Row = tuple[str, str, str]  # type, prompt, answer


def mean_relative_accuracy(predicted: float, truth: float) -> float:
    """VSI-Bench's MRA: share of the thresholds .50, .55, ... .95 that the relative error passes."""
    if truth == 0 or not math.isfinite(predicted):
        return 0.0
    error = abs(predicted - truth) / truth
    return sum(error <= 1 - (0.5 + 0.05 * i) for i in range(10)) / 10


def score(kind: str, predicted: str, truth: str) -> float:
    """1 or 0 for words and letters, MRA for numbers, after VSI-Bench's extraction of the first word."""
    if kind not in NUMERIC:
        first = predicted if kind not in CHANCE else predicted.split(" ")[0].rstrip(".").strip()
        return float(first.lower() == truth.lower())
    try:
        return mean_relative_accuracy(float(predicted.split(" ")[0].rstrip(".").strip()), float(truth))
    except ValueError:
        return 0.0


class Blind:
    """The best constant answers that training data knows."""

    def __init__(self, rows: Iterable[Row], enough: int = 30) -> None:
        texts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        kinds: dict[str, Counter[str]] = defaultdict(Counter)
        for kind, prompt, answer in rows:
            texts[kind, prompt][answer] += 1
            kinds[kind][answer] += 1
        self.by_kind = {kind: best_constant(kind, answers) for kind, answers in kinds.items()}
        self.by_text = {
            key: best_constant(key[0], answers) for key, answers in texts.items() if answers.total() >= enough
        }

    def answer(self, kind: str, prompt: str) -> str:
        """The blind answer to one question."""
        return self.by_text.get((kind, prompt), self.by_kind.get(kind, ""))


def best_constant(kind: str, answers: Counter[str]) -> str:
    """The answer of the list with the highest expected score against the list."""
    candidates = [a for a, _ in answers.most_common(200)]
    return max(candidates, key=lambda c: sum(n * score(kind, c, a) for a, n in answers.items()))


def summary(scores: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Per type: mean, standard error, number of questions."""
    out = {}
    for kind, values in sorted(scores.items()):
        n, mean = len(values), sum(values) / len(values)
        spread = sum((v - mean) ** 2 for v in values) / max(1, n - 1)
        out[kind] = {"score": mean, "se": math.sqrt(spread / n), "n": n}
    return out
