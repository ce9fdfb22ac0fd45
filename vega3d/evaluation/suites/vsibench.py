"""VSI-Bench on disk: the official files, or an export of vega3d's rooms, which has the same form.

Source: huggingface.co/datasets/nyu-visionx/VSI-Bench (5,130 rows), thinking-in-space's runner: 32 frames,
each sent as a picture, 16 new tokens. A scene's name can look like a number and is text all the same.
"""

from __future__ import annotations

from pathlib import Path

from vega3d.evaluation.suites.suite import Question, Suite, first_of, media_of, rows_of
from vega3d.evaluation.tasks.vsibench import DIRECTIONS

FILES = ("test.jsonl", "test-00000-of-00001.parquet")


def read(root: Path) -> list[Question]:
    """Questions of ``<root>/test.jsonl`` about ``<root>/<dataset>/<scene_name>.mp4``."""
    rows = rows_of(first_of(root, FILES, "vsibench"))
    return [
        Question(
            id=str(row.get("id", number)),
            record=row,
            media=media_of(root, (f"{row.get('dataset')}/{row.get('scene_name')}.mp4",)),
            scene=f"{row.get('dataset')}/{row.get('scene_name')}",
            kind=str(row.get("question_type")),
        )
        for number, row in enumerate(rows)
    ]


SUITE = Suite(
    name="vsibench",
    read=read,
    official=5130,
    value="score",
    frames=32,
    max_new_tokens=16,
    system="You are a helpful assistant.",
    layout="test.jsonl or test-00000-of-00001.parquet, and <dataset>/<scene_name>.mp4",
    where="huggingface.co/datasets/nyu-visionx/VSI-Bench (unpack the three zip files); "
    "or `vega3d rooms make`",
    licence="questions apache-2.0; videos under the terms of ScanNet, ScanNet++ and ARKitScenes",
    merged=dict.fromkeys(DIRECTIONS, "object_rel_direction"),
)
