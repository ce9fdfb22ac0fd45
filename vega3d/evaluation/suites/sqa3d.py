"""SQA3D on disk: questions of somebody who stands in a ScanNet scene, joined with their answers.

Source: Zenodo 7792397; Video-3D-LLM's runner (32 frames). Questions and answers are two files, joined by
``question_id``. Only ``situation`` is asked, never its paraphrases. A question without an answer is left out
of the file's questions and so lowers their count.
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.rows import identifier, rows_of, scene_name, sentence
from vega3d.evaluation.suites.scannet import LAYOUT, TERMS, media_of_scenes
from vega3d.evaluation.suites.suite import Question, Suite, first_of

QUESTIONS = "balanced/v1_balanced_questions_test_scannetv2.json"
ANSWERS = "balanced/v1_balanced_sqa_annotations_test_scannetv2.json"
KINDS = ("what", "is", "how", "can", "which")


ID = "question_id"
REQUIRED = (identifier(ID), scene_name("scene_id"), sentence("situation"), sentence("question"))


def read(root: Path, *, follow_links: bool = False) -> list[Question]:
    """Questions of the balanced test split about ``<root>/scannet/<scene_id>``."""
    asked = rows_of(first_of(root, _places(QUESTIONS), "sqa3d"), REQUIRED, unique=(ID,))
    answered = rows_of(first_of(root, _places(ANSWERS), "sqa3d"), (identifier(ID),), unique=(ID,))
    answers = {row[ID]: row for row in answered}
    joined = [(row, answers[row[ID]]) for row in asked if row[ID] in answers]
    media = media_of_scenes(root, (row["scene_id"] for row in asked), follow_links=follow_links)
    return [
        Question(
            id=str(row[ID]),
            record={**row, "id": row[ID], "gt_response": _truth(answer)},
            media=media[row["scene_id"]],
            scene=str(row["scene_id"]),
            kind=_kind(row["question"]),
        )
        for row, answer in joined
    ]


def _places(name: str) -> tuple[str, ...]:
    """The official place; of an export of rooms also its validation split, which a room can be in as well."""
    exported = f"benchmark/sqa_task/{name}"
    return name, exported, exported.replace("_test_", "_val_")


def _truth(answer: dict[str, object]) -> str:
    found = answer.get("answers")
    first = found[0] if isinstance(found, list) and found else {}
    return str(first.get("answer", "")) if isinstance(first, dict) else ""


def _kind(question: str) -> str:
    start = question.lstrip().lower()
    return next((kind for kind in KINDS if start.startswith(kind)), "others")


SUITE = Suite(
    name="sqa3d",
    read=read,
    official=3519,
    value="em",
    frames=32,
    max_new_tokens=512,
    layout=f"{QUESTIONS}, {ANSWERS} (an export of rooms: below benchmark/sqa_task/); {LAYOUT}",
    where="zenodo.org/records/7792397 (sqa_task.zip); www.scan-net.org for the scenes; "
    "or `vega3d rooms export`",
    licence=f"questions CC BY 4.0; {TERMS}",
    truth="gt_response",
    by_sample=True,
)
