"""SQA3D on disk: questions of somebody who stands in a ScanNet scene, joined with their answers.

Source: Zenodo 7792397; Video-3D-LLM's runner (32 frames). Questions and answers are two files, joined by
``question_id``. Only ``situation`` is asked, never its paraphrases. A question without an answer is left out
of the file's questions and so lowers their count.
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.suite import Question, Suite, first_of, media_of, rows_of

QUESTIONS = "balanced/v1_balanced_questions_test_scannetv2.json"
ANSWERS = "balanced/v1_balanced_sqa_annotations_test_scannetv2.json"
KINDS = ("what", "is", "how", "can", "which")


def read(root: Path) -> list[Question]:
    """Questions of the balanced test split about ``<root>/scannet/<scene_id>``."""
    asked = rows_of(first_of(root, (QUESTIONS,), "sqa3d"))
    answers = {row.get("question_id"): row for row in rows_of(first_of(root, (ANSWERS,), "sqa3d"))}
    joined = [(row, answers[row.get("question_id")]) for row in asked if row.get("question_id") in answers]
    return [
        Question(
            id=str(row.get("question_id")),
            record={**row, "id": row.get("question_id"), "gt_response": _truth(answer)},
            media=media_of(root, tuple(f"scannet/{row.get('scene_id')}{end}" for end in (".mp4", ""))),
            scene=str(row.get("scene_id")),
            kind=_kind(str(row.get("question", ""))),
        )
        for row, answer in joined
    ]


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
    layout=f"{QUESTIONS}, {ANSWERS}, and scannet/<scene_id>.mp4 or scannet/<scene_id>/*.jpg",
    where="zenodo.org/records/7792397 (sqa_task.zip); www.scan-net.org for the scenes",
    licence="questions CC BY 4.0; scenes under ScanNet's terms of use, to be signed",
    truth="gt_response",
)
