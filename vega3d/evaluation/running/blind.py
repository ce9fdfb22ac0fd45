"""What would be scored without looking: by guessing, and by the best constant answer of each kind.

Decision: a score means little beside no other. *Chance* is exact, from the number of options. *Constant*
gives every question of a kind the same answer, the one among the true answers that scores best on these very
questions: it knows the truth and still does not look, so it is an upper bound for blind constants. It is
computed where a short answer is scored for itself; caption metrics weigh a corpus, boxes are no words.

This module knows no benchmark and no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from vega3d.evaluation.scoring import score
from vega3d.evaluation.suites import Question, Suite
from vega3d.evaluation.task import Task

CANDIDATES = 20  # the most frequent true answers of a kind


def blind(task: Task, suite: Suite, questions: Sequence[Question]) -> dict[str, dict[str, float | None]]:
    """For each kind ``chance`` and ``constant``, 0..1; None where nobody can say."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions:
        by_kind.setdefault(question.kind, []).append(question)
    return {
        kind: {"chance": _chance(suite, own), "constant": _constant(task, suite, own)}
        for kind, own in sorted(by_kind.items())
    }


def _chance(suite: Suite, questions: Sequence[Question]) -> float | None:
    if suite.chance is None:
        return None
    each = [suite.chance(dict(question.record)) for question in questions]
    known = [value for value in each if value is not None]
    return sum(known) / len(known) if len(known) == len(each) else None


def _constant(task: Task, suite: Suite, questions: Sequence[Question]) -> float | None:
    if not suite.by_sample:
        return None
    truths = Counter(answer for question in questions for answer in _answers(question.record, suite))
    reached = [_reached(task, suite, questions, answer) for answer, _ in truths.most_common(CANDIDATES)]
    return max(reached, default=None)


def _answers(record: Mapping[str, Any], suite: Suite) -> list[str]:
    """True answers as a model would write them: the letter of "(B)"."""
    truth = record.get(suite.truth)
    return [str(one).strip("()") for one in (truth if isinstance(truth, list) else [truth])]


def _reached(task: Task, suite: Suite, questions: Sequence[Question], answer: str) -> float:
    rows = score(task, [suite.record_of(question.record, answer) for question in questions])["per_sample"]
    values = [suite.score_of(row) or 0.0 for row in rows]
    return sum(values) / len(values)
