"""VSI-Bench: eight kinds of questions about a video of a room, by letters and by numbers.

Four protocols: the official one (the same in VEGA-3D and VG-LLM), lmms-eval 0.7.3 (which looks for a number
anywhere), and both on the debiased set. On untidy answers the two readers of numbers disagree on about every
seventh question.

Answers are scored as they are given, as the published functions do. lmms-eval strips whitespace from a
model's answer before it calls its function: there a model's " B" is right; the function alone finds it wrong.

Beyond the reference: a question type that is missing is left out of the mean (the reference raises), a
question of an unknown type has no score, a true value of 0 scores 0 (the reference divides by it). Source:
arXiv:2412.14171; vision-x-nyu/thinking-in-space ``lmms_eval/tasks/vsibench``; lmms-eval 0.7.3; debiased set:
arXiv:2511.04655, nyu-visionx/VSI-Bench ``create_pq.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vega3d.evaluation.means import by_group, mean, percents
from vega3d.evaluation.numbers import first_word, mean_relative_accuracy, number_anywhere, plain_number
from vega3d.evaluation.records import Field, Record, identity, is_text, number, text, texts
from vega3d.evaluation.task import Scores, Task, mappings

DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
BY_LETTER = frozenset({*DIRECTIONS, "object_rel_distance", "route_planning", "obj_appearance_order"})
BY_NUMBER = frozenset(
    {"object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation"}
)
ACCURACY, MRA = "accuracy", "MRA:.5:.95:.05"
PRE_PROMPT = "These are frames of a video."

Reader = Callable[[str], float | None]


def prompt(record: Record) -> str:
    """The published text of a question (default ``lmms_eval_specific_kwargs``)."""
    question = f"{PRE_PROMPT}\n{text(record, 'question')}\n"
    if text(record, "question_type") in BY_NUMBER:
        return question + "Please answer the question using a single word or phrase."
    options = "\n".join(texts(record, "options"))
    return f"{question}Options:\n{options}\nAnswer with the option's letter from the given choices directly."


def metric_of(question_type: str) -> str | None:
    """The metric of a question type; None for a type that VSI-Bench does not have."""
    if question_type in BY_LETTER:
        return ACCURACY
    return MRA if question_type in BY_NUMBER else None


def sample_score(record: Record, read: Reader) -> float | None:
    """0 or 1 for a letter, 0 to 1 in steps of 0.1 for a number; None for an unknown question type."""
    answer, truth = text(record, "prediction"), text(record, "ground_truth")
    metric = metric_of(text(record, "question_type"))
    if metric == ACCURACY:
        return float(bool(truth) and first_word(answer).lower() == truth.lower())
    return mean_relative_accuracy(read(answer), number(truth)) if metric == MRA else None


def aggregate(types: Sequence[str], scores: Sequence[float | None]) -> dict[str, float | None]:
    """Means by task as fractions; the three directions become one, ``overall`` is the mean of tasks."""
    means = by_group(types, scores)
    directions = [means.pop(name) for name in DIRECTIONS if name in means]
    named = {f"{name}_{metric_of(name)}": value for name, value in means.items()}
    if directions:
        named["object_rel_direction_accuracy"] = mean(directions)
    return {**named, "overall": mean(named.values())}


def _per_sample(
    records: Sequence[Record], read: Reader
) -> tuple[list[dict[str, Any]], dict[str, float | None]]:
    scores = [sample_score(record, read) for record in records]
    types = [text(record, "question_type") for record in records]
    rows = [
        {"id": identity(record, "id"), "metric": metric_of(kind), "score": score}
        for record, kind, score in zip(records, types, scores, strict=True)
    ]
    return rows, aggregate(types, scores)


def score_official(samples: Sequence[object]) -> Scores:
    """Official scoring: the first word is the answer."""
    rows, means = _per_sample(mappings(samples), plain_number)
    return Scores(rows, {"aggregate_x100": percents(means), "aggregate_fraction": means})


def score_lmms_eval(samples: Sequence[object]) -> Scores:
    """lmms-eval 0.7.3: letters as official, the first number anywhere; overall has six decimals."""
    records = mappings(samples)
    rows, means = _per_sample(records, number_anywhere)
    overall = means["overall"]
    numbers = [
        {"id": identity(record, "id"), "extract_number": number(number_anywhere(text(record, "prediction")))}
        for record in records
        if text(record, "question_type") in BY_NUMBER
    ]
    return Scores(
        rows,
        {
            "aggregate_fraction": means,
            "aggregate_reported_overall": None if overall is None else round(overall, 6),
            "extract_number": numbers,
        },
    )


def is_kept(record: Record) -> bool:
    """Whether a record is in the debiased set: it does not carry a true ``pruned``."""
    return record.get("pruned") not in (True, 1, "True", "true")


def _debiased(score: Callable[[Sequence[object]], Scores]) -> Callable[[Sequence[object]], Scores]:
    def scored(samples: Sequence[object]) -> Scores:
        remaining = [record for record in mappings(samples) if is_kept(record)]
        marked = any("pruned" in record for record in mappings(samples))
        scores = score(remaining)
        selection = {"kept": len(remaining), "pruned": len(samples) - len(remaining), "marked": marked}
        return Scores(scores.per_sample, {**scores.aggregates, "selection": selection})

    return scored


FIELDS = (
    Field("prediction", is_text, "the model's answer"),
    Field("ground_truth", is_text, "a letter, or a decimal number as text"),
    Field("question_type", lambda value: metric_of(str(value)) is not None, "one of the ten types"),
)
_OFFICIAL = (
    "letters: first word equals the letter; numbers: MRA of the first word, .5:.95:.05; mean of 8 tasks"
)
_LMMS = "as official, but numbers are the first digits or number words anywhere (lmms-eval 0.7.3)"
_PAPER, _CODE = "arXiv:2412.14171", "github.com/vision-x-nyu/thinking-in-space lmms_eval/tasks/vsibench"
_DEBIASED = "arXiv:2511.04655, huggingface.co/datasets/nyu-visionx/VSI-Bench (create_pq.py)"
_LMMS_CODE = "pypi.org/project/lmms-eval 0.7.3, tasks/vsibench"


def _task(
    name: str, title: str, protocol: str, sources: tuple[str, ...], version: str = "1", **rest: Any
) -> Task:
    return Task(
        name=name,
        title=title,
        protocol=protocol,
        version=version,
        sources=sources,
        fields=FIELDS,
        prompt=prompt,
        **rest,
    )


_X100: Mapping[str, Any] = {"headline": (("aggregate_x100", "overall"),)}
# Version 2: `eval run` no longer strips answers, so that it scores them as `eval score` does.
_FRACTION: Mapping[str, Any] = {"version": "2", "headline": (("aggregate_fraction", "overall"),)}
OFFICIAL = _task("vsibench", "VSI-Bench", _OFFICIAL, (_PAPER, _CODE), score=score_official, **_X100)
LMMS_EVAL = _task(
    "vsibench/lmms-eval", "VSI-Bench", _LMMS, (_PAPER, _LMMS_CODE), score=score_lmms_eval, **_FRACTION
)
DEBIASED = _task(
    "vsibench/debiased",
    "VSI-Bench-Debiased",
    f"questions that are not marked `pruned`; {_OFFICIAL}",
    (_DEBIASED, _CODE),
    score=_debiased(score_official),
    keeps=is_kept,
    **_X100,
)
DEBIASED_LMMS_EVAL = _task(
    "vsibench/debiased-lmms-eval",
    "VSI-Bench-Debiased",
    f"questions that are not marked `pruned`; {_LMMS}",
    (_DEBIASED, _LMMS_CODE),
    score=_debiased(score_lmms_eval),
    keeps=is_kept,
    **_FRACTION,
)
