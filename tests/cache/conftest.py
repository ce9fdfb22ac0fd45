"""Media of every kind, and pico's Wan at a few pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import media
from vega3d import WanBackbone, WanConfig
from vega3d.cache import EncodeJob, JobPlanner, Problem
from vega3d.data import read_rows
from vega3d.pico import pico_path
from vega3d.registry import backbone_record
from vega3d.store import FeatureFormat, FeatureStore

SETTINGS = WanConfig(path=str(pico_path("wan")), block=1, pixels=48 * 48)


@pytest.fixture(scope="session")
def wan() -> WanBackbone:
    return WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Ten rows that share two videos, one folder of frames and three pictures."""
    media.write_video(tmp_path / "a.mp4", 12)
    media.write_video(tmp_path / "b.mp4", [media.frame(n + 3) for n in range(9)])
    (tmp_path / "frames").mkdir()
    for number in range(5):
        media.photo(64, 48, seed=number).save(tmp_path / "frames" / f"{number}.png")
    for number in range(3):
        media.photo(80, 60, seed=10 + number).save(tmp_path / f"{number}.png")
    rows: list[dict[str, Any]] = [
        {"video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\nWhat is there?"}]},
        {"video": "a.mp4"},
        {"video": "b.mp4"},
        {"video": "frames"},
        {"image": "0.png"},
        {"images": ["0.png", "1.png"]},
        {"messages": [chat(video("a.mp4", nframes=4))]},
        {"messages": [chat(image("1.png", clip="x"), image("2.png", clip="x"), image("0.png"))]},
        {"video": ["frames/0.png", "frames/3.png"]},
        {"messages": [chat(image("1.png", marks=[{"point": [20, 20]}]), image("2.png"))]},
        {"conversations": [{"from": "human", "value": "text alone"}]},
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def chat(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*content, {"type": "text", "text": "What is there?"}]}


def video(name: str, **keys: Any) -> dict[str, Any]:
    return {"type": "video", "video": name, **keys}


def image(name: str, **keys: Any) -> dict[str, Any]:
    return {"type": "image", "image": name, **keys}


def jobs_of(file: Path, planner: JobPlanner | None = None) -> list[EncodeJob]:
    """All jobs of an annotation file, repeats included; none may be a problem."""
    found = [one for row in (planner or JobPlanner(SETTINGS)).of(read_rows(file)) for one in row]
    assert not [one for one in found if isinstance(one, Problem)]
    return [one for one in found if isinstance(one, EncodeJob)]


def store_for(path: Path, backbone: WanBackbone, form: FeatureFormat | None = None) -> FeatureStore:
    return FeatureStore.create(
        path,
        fingerprint=backbone.fingerprint(),
        backbone=backbone_record(backbone.config),
        form=form or FeatureFormat(precision="float32"),
    )
