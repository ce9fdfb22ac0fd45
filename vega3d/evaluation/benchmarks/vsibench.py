"""VSI-Bench: eight kinds of questions about a video of a room, by letters and by numbers.

Four protocols: the official one (the same in VEGA-3D and VG-LLM), lmms-eval 0.7.3 (which takes a number
anywhere), and both on the debiased set. On untidy answers the two readers of numbers disagree on about every
seventh question.

Files are the official ones, or an export of vega3d's rooms in the same form. A scene's name is
text, also if it has the form of a number. The debiased set is the same file without the ids in
`pruned_ids.txt` of the same repository.

No protocol strips answers, as the published functions do not. lmms-eval strips whitespace from a model's
answer before it calls its function: there a model's " B" is right; the function alone finds it wrong.

Beyond the reference: a question type that is missing is left out of the mean (the reference raises), a
question of an unknown type has no score, a true value of 0 scores 0 (the reference divides by it). Source:
arXiv:2412.14171; vision-x-nyu/thinking-in-space ``lmms_eval/tasks/vsibench`` (32 frames, each sent as a
picture, 16 new tokens); huggingface.co/datasets/nyu-visionx/VSI-Bench (5,130 rows); lmms-eval 0.7.3; debiased
set: arXiv:2511.04655, ``create_pq.py`` there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Sample, Scores, metrics
from vega3d.evaluation.files import OPTIONS, Folder, identifier, read_text, rows_of, scene_name, sentence
from vega3d.evaluation.metrics.means import by_group, mean, percents
from vega3d.evaluation.metrics.numbers import (
    first_word,
    mean_relative_accuracy,
    number_anywhere,
    plain_number,
)
from vega3d.evaluation.records import Field, Record, identity, is_text, mappings, number, text, texts

FILES = ("test.jsonl", "test-00000-of-00001.parquet")
PRUNED = "pruned_ids.txt"
REQUIRED = (scene_name("dataset"), scene_name("scene_name"), sentence("question"), sentence("question_type"))
OPTIONAL = (OPTIONS, identifier("id"))
DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
BY_LETTER = frozenset({*DIRECTIONS, "object_rel_distance", "route_planning", "obj_appearance_order"})
BY_NUMBER = frozenset(
    {"object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation"}
)
ACCURACY, MRA = "accuracy", "MRA:.5:.95:.05"
PRE_PROMPT = "These are frames of a video."

NumberReader = Callable[[str], float | None]


def read(folder: Folder) -> list[Sample]:
    """Questions of ``test.jsonl`` about ``<dataset>/<scene_name>.mp4``."""
    rows = rows_of(folder.first(*FILES), REQUIRED, OPTIONAL, unique=("id",))
    media = {clip: folder.place(clip) for clip in map(_clip, rows)}
    return [
        Sample(
            id=str(row.get("id", number)),
            record=row,
            media=media[_clip(row)],
            scene=_clip(row).removesuffix(".mp4"),
            kind=row["question_type"],
        )
        for number, row in enumerate(_marked(rows, folder.root / PRUNED))
    ]


def read_debiased(folder: Folder) -> list[Sample]:
    """The same questions, each with its mark ``pruned``.

    Raises:
        InputError: no question is marked, so that nothing would be left out.
    """
    samples = read(folder)
    if samples and not any("pruned" in sample.record for sample in samples):
        raise folder.unusable(
            "does not mark which questions the debiased set leaves out of",
            f"{len(samples)} questions without `pruned`, and no {PRUNED}",
            f"{PRUNED} beside the questions, one id a line",
        )
    return samples


def _clip(row: Record) -> str:
    return f"{row['dataset']}/{row['scene_name']}.mp4"


def _marked(rows: list[dict[str, Any]], file: Path) -> list[dict[str, Any]]:
    """Rows with ``pruned`` as the file of ids states it; as they are if there is no file."""
    if not file.is_file():
        return rows
    pruned = set(read_text(file).split())
    return [{**row, "pruned": str(row.get("id")) in pruned} for row in rows]


def chance(record: Record) -> float | None:
    """The accuracy of a guess among the options; None for numbers."""
    options = record.get("options")
    return 1 / len(options) if isinstance(options, list) and options else None


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


def sample_score(record: Record, read: NumberReader) -> float | None:
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
    records: Sequence[Record], read: NumberReader
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
    x100 = percents(means)
    tables = {"aggregate_x100": x100, "aggregate_fraction": means}
    return Scores(rows, tables, metrics=[Metric("aggregate_x100 overall", x100["overall"], 100)])


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
    tables = {
        "aggregate_fraction": means,
        "aggregate_reported_overall": None if overall is None else round(overall, 6),
        "extract_number": numbers,
    }
    return Scores(rows, tables, metrics=metrics("aggregate_fraction", means, ["overall"]))


def is_kept(record: Record) -> bool:
    """A record is in the debiased set if it does not carry a true ``pruned``."""
    return record.get("pruned") not in (True, 1, "True", "true")


def _debiased(score: Callable[[Sequence[object]], Scores]) -> Callable[[Sequence[object]], Scores]:
    def scored(samples: Sequence[object]) -> Scores:
        remaining = [record for record in mappings(samples) if is_kept(record)]
        marked = any("pruned" in record for record in mappings(samples))
        scores = score(remaining)
        selection = {"kept": len(remaining), "pruned": len(samples) - len(remaining), "marked": marked}
        return replace(scores, aggregates={**scores.aggregates, "selection": selection})

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


def _debiased_protocol(protocol: Protocol, name: str, code: str) -> Protocol:
    return replace(
        protocol,
        name=name,
        title="VSI-Bench-Debiased",
        rules=f"questions that are not marked `pruned`; {protocol.rules}",
        sources=(_DEBIASED, code),
        score=_debiased(protocol.score),
        filter=is_kept,
        read=read_debiased,
    )


OFFICIAL = Protocol(
    name="vsibench",
    rules=_OFFICIAL,
    sources=(_PAPER, _CODE),
    fields=FIELDS,
    prompt=prompt,
    score=score_official,
)
LMMS_EVAL = replace(
    OFFICIAL,
    name="vsibench/lmms-eval",
    rules=_LMMS,
    version="2",  # `eval run` no longer strips answers, so that it scores them as `eval score` does
    sources=(_PAPER, _LMMS_CODE),
    score=score_lmms_eval,
)
BENCHMARK = Benchmark(
    name="vsibench",
    title="VSI-Bench",
    protocols=(
        OFFICIAL,
        LMMS_EVAL,
        _debiased_protocol(OFFICIAL, "vsibench/debiased", _CODE),
        _debiased_protocol(LMMS_EVAL, "vsibench/debiased-lmms-eval", _LMMS_CODE),
    ),
    read=read,
    official=5130,
    system="You are a helpful assistant.",
    layout=f"{FILES[0]} or {FILES[1]}, and <dataset>/<scene_name>.mp4; for the debiased set {PRUNED}",
    source="huggingface.co/datasets/nyu-visionx/VSI-Bench (unpack the three zip files); "
    "or `vega3d rooms make`",
    license="questions apache-2.0; videos under the terms of ScanNet, ScanNet++ and ARKitScenes",
    constant_baseline=True,
    chance=chance,
    groups=dict.fromkeys(DIRECTIONS, "object_rel_direction"),
)
