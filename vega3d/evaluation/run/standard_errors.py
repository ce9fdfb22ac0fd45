"""Standard errors of means of scores, clustered by scene.

Decision: questions about one scene succeed and fail together, so errors are taken over scenes and not over
questions. Every mean here is a weighted sum of scores; its error is the spread of the scenes' parts of it
(the sandwich estimator with one cluster a scene, scaled by G / (G - 1)). For one scene alone
the error is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]


def micro_weights(kinds: Sequence[object]) -> Weights:
    """Every question counts the same; (n,), sum 1."""
    return np.full(len(kinds), 1 / max(1, len(kinds)))


def macro_weights(kinds: Sequence[str], groups: Mapping[str, str]) -> Weights:
    """Every group of kinds counts the same, and so does every kind in its group; (n,), sum 1."""
    counts = Counter(kinds)
    sizes = Counter(groups.get(kind, kind) for kind in counts)
    share = {kind: 1 / (len(sizes) * sizes[groups.get(kind, kind)] * counts[kind]) for kind in counts}
    return np.array([share[kind] for kind in kinds], dtype=np.float64)


def clustered_error(
    scores: Sequence[float], weights: Weights, kinds: Sequence[str], scenes: Sequence[str]
) -> float | None:
    """Standard error of ``sum(weights * scores)`` over scenes; None below two scenes.

    Args:
        scores: (n,).
        weights: (n,), equal within a kind.
        kinds: each score is centred at the mean of its own kind; give one kind for a plain mean.
        scenes: the cluster of each score.
    """
    clusters = sorted(set(scenes))
    if len(clusters) < 2:
        return None
    parts = dict.fromkeys(clusters, 0.0)
    pairs = list(zip(scores, kinds, strict=True))
    means = {kind: np.mean([s for s, k in pairs if k == kind]) for kind in set(kinds)}
    for score, weight, kind, scene in zip(scores, weights, kinds, scenes, strict=True):
        parts[scene] += float(weight * (score - means[kind]))
    total = math.fsum(part * part for part in parts.values())
    return math.sqrt(total * len(clusters) / (len(clusters) - 1))
