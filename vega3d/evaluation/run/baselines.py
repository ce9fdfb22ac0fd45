"""Baselines without the media: the score of a guess, and of the best constant answer of each kind.

Decision: a score means little without a baseline. *Chance* is exact, from the number of options. *Constant*
gives every question of a kind the same answer: of the true answers the one that scores best on these very
questions. It uses the truth, so it is an upper bound for constant answers. It is computed where a short
answer is scored by itself; caption metrics weigh a corpus, boxes are not words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.records import Record

CANDIDATES = 20  # the most frequent true answers of a kind


def baselines(protocol: Protocol, samples: Sequence[Sample]) -> dict[str, dict[str, float | None]]:
    """For each kind ``chance`` and ``constant``, 0 to 1; None if unknown."""
    by_kind: dict[str, list[Sample]] = {}
    for sample in samples:
        by_kind.setdefault(sample.kind, []).append(sample)
    return {
        kind: {"chance": _chance(protocol, members), "constant": _constant(protocol, members)}
        for kind, members in sorted(by_kind.items())
    }


def _chance(protocol: Protocol, samples: Sequence[Sample]) -> float | None:
    if (chance := protocol.benchmark.chance) is None:
        return None
    values = [chance(sample.record) for sample in samples]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _constant(protocol: Protocol, samples: Sequence[Sample]) -> float | None:
    if not protocol.benchmark.constant_baseline:
        return None
    truths = Counter(text for sample in samples for text in _truths(protocol, sample.record))
    return max((_mean(protocol, samples, text) for text, _ in truths.most_common(CANDIDATES)), default=None)


def _truths(protocol: Protocol, record: Record) -> list[str]:
    """True answers as a model would write them: the letter of "(B)"."""
    truth = record.get(protocol.benchmark.truth)
    return [str(answer).strip("()") for answer in (truth if isinstance(truth, list) else [truth])]


def _mean(protocol: Protocol, samples: Sequence[Sample], answer: str) -> float:
    """The mean score if every question gets this answer."""
    rows = protocol.score([protocol.answered(sample.record, answer) for sample in samples]).per_sample
    return sum(protocol.score_of(row) or 0.0 for row in rows) / len(rows)
