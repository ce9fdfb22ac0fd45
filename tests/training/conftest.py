"""A run of seconds: pico on a few small pictures, clips and words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import media
from vega3d.training.config import TrainConfig

PICO_PROCESSOR = ("chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of pico's processor, which a checkpoint holds too."""


@pytest.fixture(scope="session", autouse=True)
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled operators of their own: a lock that a killed process left elsewhere would hang a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("extensions")))
        yield


@pytest.fixture(scope="session")
def annotations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven rows: text alone, one and two pictures, clips, and two turns."""
    folder = tmp_path_factory.mktemp("data")
    media.write_video(folder / "a.mp4", 6)
    for number in range(3):
        media.photo(60, 60, seed=number).save(folder / f"{number}.png")
    rows: list[dict[str, Any]] = [
        row("What is two and two?", "four"),
        row("<image>\nWhat is this?", "a red bed", image="0.png"),
        row("<image><image>\nWhich is larger?", "the first", image=["1.png", "2.png"]),
        row("<video>\nHow many chairs are there?", "3", video="a.mp4"),
        row("<image>\nWhich colour?", "blue", image="1.png"),
        row("Say nothing.", "nothing"),
        row("<video>\nWhat is near the bed?", "a lamp", video="a.mp4"),
    ]
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return file


def row(asked: str, answered: str, **media_of: Any) -> dict[str, Any]:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {**media_of, "conversations": turns}


def config(annotations: Path, out: Path, recipe: str = "lora", **changes: Any) -> TrainConfig:
    """Settings of a run of six steps, two rows to a batch; ``trainer`` is added to, the rest replaced."""
    record: dict[str, Any] = {
        "model": {"host": "pico", "backbone": {"path": "pico", "block": 1, "pixels": 2304}},
        "recipe": recipe,
        "data": [{"file": str(annotations)}],
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "sampling": {"nframes": 2},
        "new_modules_lr": 1e-2,
    }
    trainer: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": 2,
        "max_steps": 6,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_steps": 2,
        "save_strategy": "steps",
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 3,
    }
    trainer |= changes.pop("trainer", {})
    return TrainConfig.from_dict({**record, **changes, "trainer": trainer})
