"""A benchmark of made-up rooms and a model that knows every answer, for tests without any model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vega3d.errors import MediaError
from vega3d.evaluation.running.answerer import Asked

KINDS = ("object_counting", "route_planning", "object_rel_direction_easy", "object_rel_direction_hard")


def write_benchmark(root: Path, scenes: int = 3, per_scene: int = 4) -> Path:
    """Records in VSI-Bench's layout; clips are named and not there."""
    rows = [
        {
            "id": scene * per_scene + number,
            "dataset": "rooms",
            "scene_name": f"{scene}",
            "question_type": KINDS[number % len(KINDS)],
            "question": f"question {number} about room {scene}?",
            "options": None if number % len(KINDS) == 0 else ["A. yes", "B. no"],
            "ground_truth": "4" if number % len(KINDS) == 0 else "B",
        }
        for scene in range(scenes)
        for number in range(per_scene)
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


class Fake:
    """Answers 4 to numbers and B to letters; clips in ``broken`` cannot be read; ``dies`` after n batches."""

    def __init__(self, broken: Sequence[str] = (), dies: int | None = None) -> None:
        self.broken, self.dies, self.asked = broken, dies, []  # type: ignore[var-annotated]

    def check(self, asked: Asked) -> None:
        if asked.media.stem in self.broken:
            raise MediaError(f"{asked.media.name} is broken.", got="noise", expected="a video", fix="none")

    def prompt(self, asked: Asked) -> str:
        return f"<clip>{asked.prompt}"

    def answer(self, batch: Sequence[Asked]) -> list[str]:
        if self.dies is not None and len(self.asked) >= self.dies:
            raise KeyboardInterrupt
        self.asked.append(list(batch))
        return ["4" if "single word" in asked.prompt else "B" for asked in batch]


def read(folder: Path) -> list[dict[str, Any]]:
    """The scored samples of a run."""
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
