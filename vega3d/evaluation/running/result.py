"""From answered samples to the result of a run: scores by the protocol, counts, errors, provenance.

Decision: a result is a function of the samples and of the settings, and holds no time and no number of
processes: an interrupted run ends in the same file as an uninterrupted one. A question that could not be
asked is an error, not a wrong answer: it is left out of the scores, counted, and the score with errors as
wrong answers stands beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vega3d.errors import ConfigError
from vega3d.evaluation.running.errors_of_means import clustered_error, macro_weights, micro_weights
from vega3d.evaluation.scoring import score
from vega3d.evaluation.suites import Question, Suite
from vega3d.evaluation.task import Task

Sample = Mapping[str, Any]


def scored_samples(
    task: Task, suite: Suite, questions: Sequence[Question], samples: Mapping[str, Sample]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Every asked sample with its score, in the order of the questions; and what the protocol says."""
    asked = [q for q in questions if q.id in samples and belongs(task, q)]
    answered = [question for question in asked if samples[question.id].get("error") is None]
    scores = score(task, [_record(question, samples[question.id]) for question in answered])
    by_id = dict(zip([q.id for q in answered], _matching(task, scores, len(answered)), strict=True))
    rows = [_row(question, samples[question.id], by_id.get(question.id), suite) for question in asked]
    return rows, scores


def result_of(
    task: Task,
    suite: Suite,
    questions: Sequence[Question],
    samples: Mapping[str, Sample],
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The result of a task, JSON-ready, and its scored samples."""
    rows, scores = scored_samples(task, suite, questions, samples)
    asked = [q for q in questions if q.id in samples and belongs(task, q)]
    wrong = score(task, [_record(q, samples[q.id]) for q in asked])
    failed = sum(row["error"] is not None for row in rows)
    result = {
        "task": task.name,
        "task_version": task.version,
        "protocol": task.protocol,
        "headline": task.headlines(scores),
        "headline_with_errors_as_wrong": task.headlines(wrong),
        "count": {
            "answered": len(rows) - failed,
            "errors": failed,
            "asked": len(rows),
            "found": len(questions),
            "official": suite.official,
            "complete": len(rows) - failed == suite.official,
        },
        **means_of(rows, suite.merged),
        "aggregates": {k: v for k, v in scores.items() if k not in ("per_sample", "extract_number")},
        "provenance": dict(settings),
    }
    return result, rows


def means_of(rows: Sequence[Sample], merged: Mapping[str, str]) -> dict[str, Any]:
    """``micro``, ``macro`` and ``kinds``: mean, standard error clustered by scene, and n of each."""
    used = [row for row in rows if row["score"] is not None]
    scores, kinds, scenes = ([row[name] for row in used] for name in ("score", "kind", "scene"))
    one = [""] * len(used)
    by_kind = {}
    for kind in sorted(set(kinds)):
        own = [row for row in used if row["kind"] == kind]
        values, rooms = [row["score"] for row in own], [row["scene"] for row in own]
        by_kind[kind] = _mean(values, micro_weights(values), [""] * len(own), rooms)
    return {
        "micro": _mean(scores, micro_weights(kinds), one, scenes),
        "macro": _mean(scores, macro_weights(kinds, merged), kinds, scenes),
        "kinds": by_kind,
    }


def belongs(task: Task, question: Question) -> bool:
    """Whether a question is one of the protocol's: a debiased set leaves some of its benchmark out."""
    return task.keeps is None or task.keeps(question.record)


def _matching(task: Task, scores: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The scores of the samples, which have to be as many as there are answers.

    Raises:
        ConfigError: the task drops or adds samples, so that nobody can say which score is whose.
    """
    rows: list[dict[str, Any]] = scores["per_sample"]
    if len(rows) != count:
        raise ConfigError(
            f"{task.name} does not score every record that it is given.",
            got=f"{len(rows)} scores of {count} records",
            expected="one score for each record, in their order",
            fix="let the task's `keeps` say which records belong to it",
        )
    return rows


def _mean(
    scores: Sequence[float], weights: Any, kinds: Sequence[str], scenes: Sequence[str]
) -> dict[str, Any]:
    mean = float(sum(w * s for w, s in zip(weights, scores, strict=True))) if len(scores) else None
    error = clustered_error(scores, weights, kinds, scenes) if len(scores) else None
    return {"mean": mean, "standard_error": error, "n": len(scores), "scenes": len(set(scenes))}


def _record(question: Question, sample: Sample) -> dict[str, Any]:
    return {**question.record, "prediction": sample.get("output") or ""}


def _row(
    question: Question, sample: Sample, scored: Mapping[str, Any] | None, suite: Suite
) -> dict[str, Any]:
    value = scored.get(suite.value) if scored else None
    return {
        "id": question.id,
        "kind": question.kind,
        "scene": question.scene,
        "media": sample.get("media"),
        "donor": sample.get("donor"),
        "question": question.record.get("question"),
        "truth": question.record.get(suite.truth),
        "prompt": sample.get("prompt"),
        "output": sample.get("output"),
        "scored": dict(scored) if scored else None,
        "score": float(value) if isinstance(value, int | float) else None,
        "error": sample.get("error"),
    }
