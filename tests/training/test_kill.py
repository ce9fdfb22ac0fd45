"""Killed at any moment, a run ends with the weights and the samples of one that was not."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media
from tests.training.conftest import config, row
from tests.training.test_trainer import tensors
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train
from vega3d.training.trainer import Vega3DTrainer

FORK = multiprocessing.get_context("fork")  # a child begins at once, without importing anything
STEPS = 60


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many rows that steps do not see the same ones, two fifths of them with a picture."""
    folder = tmp_path_factory.mktemp("rows")
    found = []
    for number in range(45):
        media.photo(60, 60, seed=number).save(folder / f"{number}.png")
        own = {"image": f"{number}.png"} if number % 5 < 2 else {}
        found.append(row(("<image>" if own else "") + f"What is {number}?", f"a {number}", **own))
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in found))
    return file


def settings_of(rows: Path, out: Path) -> TrainConfig:
    steps = {"max_steps": STEPS, "save_steps": 7, "gradient_accumulation_steps": 2}
    return config(rows, out, "lora", trainer={**steps, "per_device_train_batch_size": 1})


def child(settings: TrainConfig, seen: Path, done: Any) -> None:
    """Train, noting which tokens each step was trained on."""
    inner = Vega3DTrainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
        with seen.open("a") as file:
            file.write(json.dumps([self.state.global_step, inputs["input_ids"].tolist()]) + "\n")
        result = inner(self, model, inputs, *args)
        done.value = self.state.global_step
        return result

    Vega3DTrainer.training_step = training_step  # type: ignore[method-assign]
    train(settings)
    os._exit(0)


def start(settings: TrainConfig, seen: Path) -> tuple[Any, Any]:
    done = FORK.Value("i", -1)
    process = FORK.Process(target=child, args=(settings, seen, done))
    process.start()
    return process, done


def samples(seen: Path) -> dict[int, list[Any]]:
    """For each step what it was trained on the last time that it ran; an interrupted step counts whole."""
    found: dict[int, list[Any]] = {}
    for line in seen.read_text().splitlines():
        step, ids = json.loads(line)
        found.setdefault(step, []).append(ids)
    return {step: batches[-2:] for step, batches in found.items()}


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.full)])
def test_a_run_that_is_killed_at_random_moments_ends_as_if_it_had_not_been(
    kills: int, rows: Path, tmp_path: Path
) -> None:
    whole, seen = settings_of(rows, tmp_path / "whole"), tmp_path / "whole.seen"
    process, _ = start(whole, seen)
    process.join()
    assert process.exitcode == 0
    draw = random.Random(kills)
    settings, again = settings_of(rows, tmp_path / "killed"), tmp_path / "killed.seen"
    for moment in sorted(draw.sample(range(2, STEPS - 1), kills)):
        process, done = start(settings, again)
        while process.is_alive() and done.value < moment:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.3))  # anywhere in a step, between two, or while a checkpoint is written
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    process, _ = start(settings, again)
    process.join()
    assert process.exitcode == 0
    assert samples(again) == samples(seen)
    expected, found = tensors(tmp_path / "whole" / "final"), tensors(tmp_path / "killed" / "final")
    assert expected.keys() == found.keys()
    assert all(torch.equal(one, found[name]) for name, one in expected.items())
