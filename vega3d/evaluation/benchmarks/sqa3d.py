"""SQA3D: a situation in a room and a question about it, answered in a word or two.

EM after cleaning both sides, overall and by the first word of the question. EM-R (LEO) and the permissive
match of SQA3D's script for language models stand beside it under names of their own: for the same outputs
they have been published 48.6, 51.4 and 56.8.

Questions and answers are two files, joined by ``question_id``. Only ``situation`` is asked, never its
paraphrases. A question without an answer is left out and so lowers the count.

Source: Zenodo 7792397; H-EmbodVis/VEGA-3D (main) ``llava/eval/eval_sqa3d.py``; Video-3D-LLM's runner (32
frames); embodied-generalist ``evaluator/scanqa_eval.py``; SilongYong/SQA3D ``LLM/eval_sqa3d_llm.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores, metrics
from vega3d.evaluation.benchmarks._scannet import LAYOUT, TERMS, samples_of_scenes
from vega3d.evaluation.files import Folder, identifier, rows_of, scene_name, sentence
from vega3d.evaluation.metrics.answers import any_match, clean, shares_a_word
from vega3d.evaluation.metrics.means import by_group, mean, percents
from vega3d.evaluation.records import Field, Record, add_ids, is_text, mappings, text

QUESTIONS = "balanced/v1_balanced_questions_test_scannetv2.json"
ANSWERS = "balanced/v1_balanced_sqa_annotations_test_scannetv2.json"
ID = "question_id"
REQUIRED = (identifier(ID), scene_name("scene_id"), sentence("situation"), sentence("question"))
TYPES = ("what", "is", "how", "can", "which")


def read(folder: Folder) -> list[Sample]:
    """Questions of the balanced test split about ``scannet/<scene_id>``."""
    questions = rows_of(folder.first(*_places(QUESTIONS)), REQUIRED, unique=(ID,))
    answers = rows_of(folder.first(*_places(ANSWERS)), (identifier(ID),), unique=(ID,))
    truths = {row[ID]: _truth(row) for row in answers}
    joined = [{**q, "id": q[ID], "gt_response": truths[q[ID]]} for q in questions if q[ID] in truths]
    return samples_of_scenes(folder, joined, ID, kind=lambda row: _first_word(row["question"]))


def _places(name: str) -> tuple[str, ...]:
    """The official place; of an export of rooms also its validation split, which a room can be in as well."""
    exported = f"benchmark/sqa_task/{name}"
    return name, exported, exported.replace("_test_", "_val_")


def _truth(row: Record) -> str:
    answers = row.get("answers")
    first = answers[0] if isinstance(answers, list) and answers else {}
    return str(first.get("answer", "")) if isinstance(first, dict) else ""


def _first_word(question: str) -> str:
    """The type that the first letters of a question state."""
    start = question.lstrip().lower()
    return next((kind for kind in TYPES if start.startswith(kind)), "others")


def prompt(record: Record) -> str:
    """The text that VEGA-3D and Video-3D-LLM send."""
    situation, question = text(record, "situation"), text(record, "question")
    return f"{situation} {question} Answer the question using a single word or phrase."


def question_type(record: Record) -> str:
    """The given type, or the one that the first letters of the question state."""
    given = text(record, "question_type").lower()
    return given if given in (*TYPES, "others") else _first_word(text(record, "question"))


def score(samples: Sequence[object]) -> Scores:
    """EM, EM-R and the permissive match."""
    records = mappings(samples)
    rows = [_row(record) for record in records]
    types = [question_type(record) for record in records]
    em, em_r = ([float(row[name]) for row in rows] for name in ("em", "em_r"))
    leo = {"EM": mean(em), "EM-R": mean(em_r)}
    for name, values in (("EM", em), ("EM-R", em_r)):
        leo |= {f"{name}_{kind}": value for kind, value in by_group(types, values).items()}
    means, leo = percents(by_group(types, em) | {"all": mean(em)}), percents(leo)
    script = mean(row["official_llm_script_match"] for row in rows)
    tables = {"aggregate_percent": means, "aggregate_percent_leo": leo}
    printed = metrics("aggregate_percent", means, ["all"], 100)
    printed += metrics("aggregate_percent_leo", leo, ["EM-R"], 100)
    more = percents({"official_llm_script_accuracy_percent": script})
    return Scores(add_ids(records, rows), {**tables, **more}, metrics=printed)


def _row(record: Record) -> dict[str, Any]:
    raw, truth = text(record, "pred_response", "prediction").strip(), text(record, "gt_response")
    prediction, answer = clean(raw), clean(truth)
    known = is_text(record.get("gt_response"))  # without an answer nothing is right
    em, em_r = any_match(prediction, [answer]) if known else (0, 0)
    script = shares_a_word(prediction, truth) if known else 0
    return {
        "cleaned_prediction": prediction,
        "cleaned_answer": answer,
        "em": em,
        "em_r": em_r,
        "official_llm_script_match": script,
    }


PROTOCOL = Protocol(
    name="sqa3d",
    rules="EM of cleaned answers, overall and by question type; aggregate_percent_leo: EM-R; "
    "official_llm_script: substring or any shared word",
    sources=(
        "arXiv:2210.07474",
        "github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_sqa3d.py",
        "github.com/SilongYong/SQA3D LLM/eval_sqa3d_llm.py",
    ),
    fields=(
        Field("pred_response", is_text, "the model's answer", ("prediction",)),
        Field("gt_response", is_text, "the answer"),
    ),
    prompt=prompt,
    score=score,
    sample_score="em",
)
BENCHMARK = Benchmark(
    name="sqa3d",
    title="SQA3D",
    protocols=(PROTOCOL,),
    read=read,
    official=3519,
    max_new_tokens=512,
    layout=f"{QUESTIONS}, {ANSWERS} (an export of rooms: below benchmark/sqa_task/); {LAYOUT}",
    source="zenodo.org/records/7792397 (sqa_task.zip); www.scan-net.org for the scenes; "
    "or `vega3d rooms export`",
    license=f"questions CC BY 4.0; {TERMS}",
    truth="gt_response",
    constant_baseline=True,
)
