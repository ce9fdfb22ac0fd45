"""Batches that keep twins together, and the warning about a branch that is not used."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media
from tests.training.conftest import config, row
from tests.training.test_trainer import FORK, tensors, trainer_of
from vega3d.errors import ConfigError, InputError
from vega3d.training.branch import unused_branch
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train
from vega3d.training.trainer import Vega3DTrainer
from vega3d.training.validation import validate


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pairs of rows, not side by side, and one row alone; pictures of a pair are equal."""
    folder = tmp_path_factory.mktemp("twins")
    rows = []
    for number in range(7):
        media.photo(60, 60, seed=number).save(folder / f"{number}.png")
        for answer in ("left", "right"):
            asked = row(f"<image>Pair {number}?", answer, image=f"{number}.png")
            rows.append({**asked, "pair": f"p{number}"})
    rows = [*rows[::2], *rows[1::2], {**row("Alone?", "yes"), "pair": "alone"}]
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return file


def grouped(twins: Path, out: Path, **changes: Any) -> TrainConfig:
    trainer = {"per_device_train_batch_size": 4, **changes.pop("trainer", {})}
    return config(
        twins, out, "align", data=[{"file": str(twins), "group_by": "pair"}], trainer=trainer, **changes
    )


def test_every_batch_of_a_run_holds_whole_pairs(twins: Path, tmp_path: Path) -> None:
    trainer = trainer_of(grouped(twins, tmp_path))
    rows, order = trainer.train_dataset, list(trainer._get_train_sampler())
    for start in range(0, len(order), 4):
        groups = [rows[number].group for number in order[start : start + 4]]
        assert all(groups.count(name) == (1 if name == "alone" else 2) for name in groups)


@pytest.mark.exact
def test_a_killed_run_with_groups_ends_with_the_weights_of_one_that_was_not(
    twins: Path, tmp_path: Path
) -> None:
    whole = train(grouped(twins, tmp_path / "whole"))
    settings = grouped(twins, tmp_path / "killed")

    def child() -> None:
        inner = Vega3DTrainer.training_step

        def training_step(self: Any, *args: Any) -> Any:
            if self.state.global_step == 5:  # in the second epoch
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(self, *args)

        Vega3DTrainer.training_step = training_step  # type: ignore[method-assign]
        train(settings)

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    expected, again = tensors(whole), tensors(train(settings))
    assert expected.keys() == again.keys()
    assert all(torch.equal(one, again[name]) for name, one in expected.items())


def test_groups_change_the_order_and_so_the_run(twins: Path, tmp_path: Path) -> None:
    train(grouped(twins, tmp_path, trainer={"max_steps": 1, "save_steps": 1}))
    with pytest.raises(ConfigError, match="another run"):
        train(config(twins, tmp_path, "align", trainer={"per_device_train_batch_size": 4}))


def test_validate_finds_a_row_without_its_group_and_a_group_that_fits_into_no_batch(
    twins: Path, tmp_path: Path
) -> None:
    lines = [json.loads(line) for line in twins.read_text().splitlines()]
    for line in lines:
        line["image"] = str(twins.parent / line["image"]) if "image" in line else None
    lines[2]["pair"] = None
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = grouped(tmp_path / "train.jsonl", tmp_path / "out", trainer={"per_device_train_batch_size": 1})
    (tmp_path / "run.yaml").write_text(json.dumps(settings.to_dict()))
    problems = [f"{p.where} {p.error}" for p in validate(tmp_path / "run.yaml").findings]
    assert len(problems) == 2, problems
    assert any("Missing group under 'pair'" in text for text in problems)
    assert any("a group of 2 rows does not fit into a batch" in text for text in problems)


def test_a_row_without_its_group_stops_training(twins: Path, tmp_path: Path) -> None:
    settings = config(twins, tmp_path, "align", data=[{"file": str(twins), "group_by": "paar"}])
    with pytest.raises(InputError, match="Missing group under 'paar'"):
        train(settings)


# ---------------------------------------------------------------- the warning at the end of a run


def test_a_run_whose_loss_does_not_depend_on_the_features_warns_at_its_end(
    twins: Path, tmp_path: Path
) -> None:
    trainer = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 2, "save_strategy": "no"}
    trainer |= {"learning_rate": 0.0, "per_device_eval_batch_size": 4}
    settings = grouped(twins, tmp_path, eval_data=[{"file": str(twins)}], new_modules_lr=0.0, trainer=trainer)
    with pytest.warns(UserWarning, match=r"does not use the generator's features.*contribution 0"):
        train(settings)


@pytest.mark.parametrize(
    ("history", "warned"),
    [
        ([{"eval_loss": 1.0, "eval_loss_swapped": 1.0}], True),
        ([{"eval_loss": 1.0, "eval_loss_swapped": 1.0005}], True),
        ([{"eval_loss": 1.0, "eval_loss_swapped": 0.9}], True),
        ([{"eval_loss": 1.0, "eval_loss_swapped": 1.01}], False),
        ([{"eval_loss": 1.0, "eval_loss_swapped": 1.0}, {"eval_loss": 0.5, "eval_loss_swapped": 0.9}], False),
        ([{"eval_loss": 1.0, "eval_loss_swapped": 1.2}, {"eval_loss": 0.5}], False),
        ([{"loss": 1.0, "fusion/contribution": 0.2}], False),
        ([], False),
    ],
)
def test_the_last_evaluation_that_swapped_features_decides(
    history: list[dict[str, float]], warned: bool
) -> None:
    assert bool(unused_branch(history)) == warned


def test_the_warning_states_both_losses_and_the_contribution() -> None:
    history = [{"loss": 2.0, "fusion/contribution": 0.25}, {"eval_loss": 1.5, "eval_loss_swapped": 1.5}]
    assert "1.5" in unused_branch(history)
    assert "contribution 0.25" in unused_branch(history)
