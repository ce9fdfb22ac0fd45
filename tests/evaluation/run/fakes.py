"""A benchmark of made-up rooms and a model that knows every answer, for tests without any model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vega3d.errors import MediaError
from vega3d.evaluation import Sample, load_benchmark
from vega3d.evaluation.files import Folder
from vega3d.evaluation.run.model import EvalRequest, PreparedRequest

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


def samples_of(name: str, root: Path, *, follow_links: bool = False) -> list[Sample]:
    """The samples of a protocol, or all samples of a benchmark."""
    benchmark = load_benchmark(name.partition("/")[0])
    for protocol in benchmark.protocols:
        if protocol.name == name:
            return protocol.samples(root, follow_links=follow_links)
    assert benchmark.read is not None
    return benchmark.read(Folder(root, benchmark.name, follow_links))


class Fake:
    """Answers 4 to numbers and B to letters; clips in ``broken`` cannot be read; ``dies`` after n batches."""

    def __init__(self, broken: Sequence[str] = (), dies: int | None = None) -> None:
        self.broken, self.dies, self.asked = broken, dies, []  # type: ignore[var-annotated]

    def prepare(self, request: EvalRequest) -> PreparedRequest:
        if isinstance(request.media, Path) and request.media.stem in self.broken:
            raise MediaError(f"{request.media.name} is broken.", got="noise", expected="a video", fix="none")
        return PreparedRequest(request, f"<clip>{request.prompt}", torch.zeros(0))

    def generate(self, batch: Sequence[PreparedRequest]) -> list[str]:
        return self.answer([prepared.request for prepared in batch])

    def answer(self, batch: Sequence[EvalRequest]) -> list[str]:
        if self.dies is not None and len(self.asked) >= self.dies:
            raise KeyboardInterrupt
        self.asked.append(list(batch))
        return ["4" if "single word" in asked.prompt else "B" for asked in batch]


def read(folder: Path) -> list[dict[str, Any]]:
    """The scored samples of a run."""
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
