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
from functools import partial
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Sample, Scores, metrics
from vega3d.evaluation.benchmarks._lettered import FRAMES, chance_among, prompt_of
from vega3d.evaluation.files import OPTIONS, Folder, identifier, read_text, rows_of, scene_name, sentence
from vega3d.evaluation.metrics import numbers
from vega3d.evaluation.metrics.means import Means, by_group, mean, percents
from vega3d.evaluation.records import Field, Record, add_ids, is_text, mappings, number, text, texts

FILES = ("test.jsonl", "test-00000-of-00001.parquet")
PRUNED = "pruned_ids.txt"
REQUIRED = (scene_name("dataset"), scene_name("scene_name"), sentence("question"), sentence("question_type"))
DIRECTIONS = tuple(f"object_rel_direction_{level}" for level in ("easy", "medium", "hard"))
BY_LETTER = (*DIRECTIONS, "object_rel_distance", "route_planning", "obj_appearance_order")
BY_NUMBER = ("object_abs_distance", "object_counting", "object_size_estimation", "room_size_estimation")
METRICS = dict.fromkeys(BY_LETTER, "accuracy") | dict.fromkeys(BY_NUMBER, "MRA:.5:.95:.05")

NumberReader = Callable[[str], float | None]


def read(folder: Folder) -> list[Sample]:
    """Questions of ``test.jsonl`` about ``<dataset>/<scene_name>.mp4``, with marks if there are any."""
    rows = rows_of(folder.first(*FILES), REQUIRED, (OPTIONS, identifier("id")), unique=("id",))
    names = [f"{row['dataset']}/{row['scene_name']}" for row in rows]
    media = {name: folder.place(f"{name}.mp4") for name in dict.fromkeys(names)}
    if (file := folder.root / PRUNED).is_file():
        pruned = set(read_text(file).split())
        rows = [{**row, "pruned": str(row.get("id")) in pruned} for row in rows]
    return [
        Sample(str(row.get("id", number)), row, media[name], name, row["question_type"])
        for number, (row, name) in enumerate(zip(rows, names, strict=True))
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


def prompt(record: Record) -> str:
    """The published text of a question (default ``lmms_eval_specific_kwargs``)."""
    question = text(record, "question")
    if text(record, "question_type") in BY_NUMBER:
        return f"{FRAMES}\n{question}\nPlease answer the question using a single word or phrase."
    return prompt_of(question, texts(record, "options"))


def sample_score(record: Record, read: NumberReader) -> float | None:
    """0 or 1 for a letter, 0 to 1 in steps of 0.1 for a number; None for an unknown question type."""
    truth, parsed = text(record, "ground_truth"), parse(record, read)
    if (kind := text(record, "question_type")) in BY_LETTER:
        return float(bool(truth) and str(parsed).lower() == truth.lower())
    return numbers.mean_relative_accuracy(parsed, number(truth)) if kind in BY_NUMBER else None


def parse(record: Record, read: NumberReader) -> Any:
    """The letter or the number of an answer; None if it holds no number."""
    answer = text(record, "prediction")
    by_letter = text(record, "question_type") in BY_LETTER
    return numbers.first_word(answer) if by_letter else read(answer)


def aggregate(types: Sequence[str], scores: Sequence[float | None]) -> Means:
    """Means by task as fractions; the three directions become one, ``overall`` is the mean of tasks."""
    means = by_group(types, scores)
    directions = [means.pop(name) for name in DIRECTIONS if name in means]
    named = {f"{name}_{METRICS.get(name)}": value for name, value in means.items()}
    if directions:
        named["object_rel_direction_accuracy"] = mean(directions)
    return {**named, "overall": mean(named.values())}


def _per_sample(records: Sequence[Record], read: NumberReader) -> tuple[list[dict[str, Any]], Means]:
    scores = [sample_score(record, read) for record in records]
    types = [text(record, "question_type") for record in records]
    rows = [{"metric": METRICS.get(kind), "score": score} for kind, score in zip(types, scores, strict=True)]
    return add_ids(records, rows), aggregate(types, scores)


def score_official(samples: Sequence[object]) -> Scores:
    """Official scoring: the first word is the answer."""
    rows, means = _per_sample(mappings(samples), numbers.plain_number)
    x100 = percents(means)
    tables = {"aggregate_x100": x100, "aggregate_fraction": means}
    return Scores(rows, tables, metrics=[Metric("aggregate_x100 overall", x100["overall"], 100)])


def score_lmms_eval(samples: Sequence[object]) -> Scores:
    """lmms-eval 0.7.3: letters as official, the first number anywhere; overall has six decimals."""
    records = mappings(samples)
    rows, means = _per_sample(records, numbers.number_anywhere)
    overall = means["overall"]
    asked = [record for record in records if text(record, "question_type") in BY_NUMBER]
    extracted = [number(numbers.number_anywhere(text(record, "prediction"))) for record in asked]
    tables = {
        "aggregate_fraction": means,
        "aggregate_reported_overall": None if overall is None else round(overall, 6),
        "extract_number": add_ids(asked, [{"extract_number": value} for value in extracted]),
    }
    return Scores(rows, tables, metrics=metrics("aggregate_fraction", means, ["overall"]))


def is_kept(record: Record) -> bool:
    """A record is in the debiased set if it does not carry a true ``pruned``."""
    return record.get("pruned") not in (True, 1, "True", "true")


_PAPER, _CODE = "arXiv:2412.14171", "github.com/vision-x-nyu/thinking-in-space lmms_eval/tasks/vsibench"
_DEBIASED = "arXiv:2511.04655, huggingface.co/datasets/nyu-visionx/VSI-Bench (create_pq.py)"
_LMMS_CODE = "pypi.org/project/lmms-eval 0.7.3, tasks/vsibench"


def _debiased(protocol: Protocol, name: str, code: str) -> Protocol:
    def score(samples: Sequence[object]) -> Scores:
        records = mappings(samples)
        remaining = [record for record in records if is_kept(record)]
        marked = any("pruned" in record for record in records)
        scores = protocol.score(remaining)
        selection = {"kept": len(remaining), "pruned": len(samples) - len(remaining), "marked": marked}
        return replace(scores, aggregates={**scores.aggregates, "selection": selection})

    return replace(
        protocol,
        name=name,
        title="VSI-Bench-Debiased",
        rules=f"questions that are not marked `pruned`; {protocol.rules}",
        sources=(_DEBIASED, code),
        score=score,
        filter=is_kept,
        read=read_debiased,
    )


OFFICIAL = Protocol(
    name="vsibench",
    rules="letters: first word equals the letter; numbers: MRA of the first word, .5:.95:.05; "
    "mean of 8 tasks",
    sources=(_PAPER, _CODE),
    fields=(
        Field("prediction", is_text, "the model's answer"),
        Field("ground_truth", is_text, "a letter, or a decimal number as text"),
        Field("question_type", lambda value: METRICS.get(str(value)), "one of the ten types"),
    ),
    prompt=prompt,
    parse=partial(parse, read=numbers.plain_number),
    score=score_official,
)
LMMS_EVAL = replace(
    OFFICIAL,
    name="vsibench/lmms-eval",
    rules="as official, but numbers are the first digits or number words anywhere (lmms-eval 0.7.3)",
    version="2",  # `eval run` no longer strips answers, so that it scores them as `eval score` does
    sources=(_PAPER, _LMMS_CODE),
    parse=partial(parse, read=numbers.number_anywhere),
    score=score_lmms_eval,
)
BENCHMARK = Benchmark(
    name="vsibench",
    title="VSI-Bench",
    protocols=(
        OFFICIAL,
        LMMS_EVAL,
        _debiased(OFFICIAL, "vsibench/debiased", _CODE),
        _debiased(LMMS_EVAL, "vsibench/debiased-lmms-eval", _LMMS_CODE),
    ),
    read=read,
    official=5130,
    system="You are a helpful assistant.",
    layout=f"{FILES[0]} or {FILES[1]}, and <dataset>/<scene_name>.mp4; for the debiased set {PRUNED}",
    source="huggingface.co/datasets/nyu-visionx/VSI-Bench (unpack the three zip files); "
    "or `vega3d rooms make`",
    license="questions apache-2.0; videos under the terms of ScanNet, ScanNet++ and ARKitScenes",
    constant_baseline=True,
    chance=chance_among("options"),
    groups=dict.fromkeys(DIRECTIONS, "object_rel_direction"),
)
