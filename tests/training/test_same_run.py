"""A run's folder is resumed by the same run only: what differs is named, and what may differ takes effect."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import config
from tests.training.test_checksums import flip
from tests.training.test_trainer import tensors
from vega3d.cli.main import main
from vega3d.errors import ConfigError
from vega3d.training.checkpoints import checkpoints
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train

FORK = multiprocessing.get_context("fork")  # a child begins at once, without importing anything
OLD_FILES = {"train_config.json"}


def settings_of(rows: Path, out: Path, recipe: str = "align", **changes: Any) -> TrainConfig:
    steps = {"max_steps": 4, **changes.pop("trainer", {})}
    return config(rows, out, recipe, trainer=steps, **changes)


@pytest.fixture(scope="module")
def rows(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of these tests alone; media beside them."""
    folder = tmp_path_factory.mktemp("rows")
    shutil.copytree(annotations.parent, folder, dirs_exist_ok=True)
    return folder / annotations.name


@pytest.fixture(scope="module")
def finished(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with checkpoints at 2 and 4; tests do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    train(settings_of(rows, folder, trainer={"hub_token": "hf_secret"}))
    return folder


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def refused(settings: TrainConfig) -> str:
    """The refusal of a run, which leaves every file of the folder as it was."""
    folder = Path(settings.trainer["output_dir"])
    before = contents(folder)
    with pytest.raises(ConfigError, match="holds another run") as caught:
        train(settings)
    assert contents(folder) == before
    return str(caught.value)


# ---------------------------------------------------------------- what differs is named


OTHERS = {
    "trainer.seed": {"trainer": {"seed": 4}},
    "trainer.data_seed": {"trainer": {"data_seed": 4}},
    "trainer.learning_rate": {"trainer": {"learning_rate": 5e-3}},
    "trainer.warmup_steps": {"trainer": {"warmup_steps": 1}},
    "trainer.gradient_accumulation_steps": {"trainer": {"gradient_accumulation_steps": 2}},
    "rows of a batch, over all processes": {"trainer": {"per_device_train_batch_size": 1}},
    "new_modules_lr": {"new_modules_lr": 5e-3},
    "model.fusion": {"model": {"fusion": "paper"}},
    "max_length": {"max_length": 10_000},
    "sampling.nframes": {"sampling": {"nframes": 3}},
    "recipe": {"recipe": "full"},
    "batch_by": {"batch_by": "length"},
}


def named(refusal: str) -> list[str]:
    """The names of what differs, from the lines that show both sides."""
    got, expected = (
        [part.split(": ")[0].strip() for part in line.split(":", 1)[1].split("; ")]
        for line in refusal.splitlines()
        if line.strip().startswith(("got:", "expected:"))
    )
    assert got == expected
    return got


@pytest.mark.parametrize("name", OTHERS)
def test_another_setting_is_refused_by_its_name(name: str, rows: Path, run_folder: Path) -> None:
    changes: dict[str, Any] = json.loads(json.dumps(OTHERS[name]))
    if name == "model.fusion":
        changes["model"] |= config(rows, run_folder).to_dict()["model"] | changes["model"]
    assert named(refused(settings_of(rows, run_folder, **changes))) == [name]


def test_another_weight_of_the_data_is_refused(rows: Path, run_folder: Path) -> None:
    assert "data.0.weight" in refused(settings_of(rows, run_folder, data=[{"file": str(rows), "weight": 2}]))


def test_another_file_and_another_revision_are_refused(rows: Path, run_folder: Path) -> None:
    other = rows.with_name("other.jsonl")
    other.write_bytes(rows.read_bytes())
    assert "data.0.file" in refused(settings_of(rows, run_folder, data=[{"file": str(other)}]))
    two = [{"file": str(rows)}, {"file": str(other)}]
    assert "data.1.file" in refused(settings_of(rows, run_folder, data=two))


def test_an_annotation_file_that_changed_under_its_name_is_refused(annotations: Path, tmp_path: Path) -> None:
    shutil.copytree(annotations.parent, tmp_path / "rows")
    file = tmp_path / "rows" / annotations.name
    train(settings_of(file, tmp_path / "run"))
    file.write_text(file.read_text().replace("a red bed", "a red bad"))
    text = refused(settings_of(file, tmp_path / "run"))
    assert f"contents of {file}" in text


def test_fewer_steps_than_are_trained_are_refused(rows: Path, run_folder: Path) -> None:
    before = contents(run_folder)
    for fewer in ({"max_steps": 3}, {"max_steps": -1, "num_train_epochs": 0.5}):
        with pytest.raises(ConfigError, match="more steps"):
            train(settings_of(rows, run_folder, trainer=fewer))
        assert contents(run_folder) == before


def test_the_command_refuses_too(rows: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder.parent / "run.yaml").write_text(json.dumps(settings_of(rows, run_folder).to_dict()))
    final = contents(run_folder / "final")
    assert main(["train", str(run_folder.parent / "run.yaml"), "trainer.seed=1", "new_modules_lr=5e-3"]) == 1
    said = capsys.readouterr().err
    assert "new_modules_lr: 0.005; trainer.seed: 1" in said
    assert "new_modules_lr: 0.01; trainer.seed: 3" in said
    assert contents(run_folder / "final") == final


# ---------------------------------------------------------------- what may differ


ALIKE = {
    "logging": {"trainer": {"logging_steps": 3, "log_level": "error", "run_name": "again"}},
    "saving": {"trainer": {"save_steps": 1, "save_total_limit": 4}},
    "workers": {"trainer": {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 4}},
    "a token": {"trainer": {"hub_token": "hf_other", "hub_private_repo": True}},
    "a default that is written out": {"trainer": {"weight_decay": 0.0, "optim": "adamw_torch_fused"}},
    "a whole number for a float": {"trainer": {"max_grad_norm": 1}},
    "what is only evaluated": {},
}


@pytest.mark.parametrize("name", ALIKE)
def test_the_same_run_may_change(name: str, rows: Path, run_folder: Path) -> None:
    changes: dict[str, Any] = json.loads(json.dumps(ALIKE[name]))
    if name == "what is only evaluated":
        changes = {"eval_data": [{"file": str(rows)}], "trainer": {"eval_strategy": "no", "eval_delay": 1}}
    expected = tensors(run_folder / "final")
    again = tensors(train(settings_of(rows, run_folder, **changes)))
    assert all(torch.equal(tensor, again[key]) for key, tensor in expected.items())


def test_more_steps_go_on_from_the_last_checkpoint_at_the_new_cadence(rows: Path, run_folder: Path) -> None:
    train(settings_of(rows, run_folder, trainer={"max_steps": 8, "save_steps": 5, "save_total_limit": 9}))
    assert [path.name for path in checkpoints(run_folder)] == [f"checkpoint-{n}" for n in (2, 4, 5, 8)]
    assert json.loads((run_folder / "train_config.json").read_text())["trainer"]["max_steps"] == 8


def test_a_checkpoint_without_its_optimizer_is_resumed_with_a_warning(rows: Path, tmp_path: Path) -> None:
    settings = settings_of(rows, tmp_path, trainer={"save_only_model": True, "max_steps": 3})
    train(settings)
    shutil.rmtree(tmp_path / "checkpoint-3")
    with pytest.warns(UserWarning, match=r"checkpoint-2 has no optimizer\.pt"):
        train(settings)


def test_a_run_of_version_0_1_is_resumed(rows: Path, run_folder: Path) -> None:
    for file in run_folder.iterdir():
        if file.is_file() and file.name not in OLD_FILES:
            file.unlink()
    for mark in run_folder.glob("checkpoint-*/complete.json"):
        mark.write_text(json.dumps({"files": json.loads(mark.read_text())["files"]}))
    expected = tensors(run_folder / "final")
    again = tensors(train(settings_of(rows, run_folder)))
    assert all(torch.equal(tensor, again[key]) for key, tensor in expected.items())
    assert "trainer.seed" in refused(settings_of(rows, run_folder, trainer={"seed": 4}))


def test_checkpoints_without_settings_are_resumed_with_a_warning(rows: Path, run_folder: Path) -> None:
    for file in run_folder.iterdir():
        if file.is_file():
            file.unlink()
    with pytest.warns(UserWarning, match=r"train_config\.json"):
        train(settings_of(rows, run_folder))


def test_settings_that_cannot_be_read_are_a_typed_error(rows: Path, run_folder: Path) -> None:
    (run_folder / "train_config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"train_config\.json"):
        train(settings_of(rows, run_folder))


def test_a_folder_in_which_nothing_was_trained_takes_other_settings(rows: Path, tmp_path: Path) -> None:
    wrong = settings_of(rows, tmp_path, model={"host": "pico", "backbone": {"path": "pico", "block": 99}})
    with pytest.raises(Exception, match="99"):
        train(wrong)
    shutil.rmtree(tmp_path / "final", ignore_errors=True)
    (tmp_path / "train_config.json").write_text(json.dumps(wrong.to_dict()))
    assert train(settings_of(rows, tmp_path)).exists()


def test_a_finished_run_without_checkpoints_is_not_overwritten_by_another(rows: Path, tmp_path: Path) -> None:
    train(settings_of(rows, tmp_path, trainer={"max_steps": 1, "save_strategy": "no"}))
    assert "trainer.seed" in refused(settings_of(rows, tmp_path, trainer={"seed": 4, "save_strategy": "no"}))


# ---------------------------------------------------------------- what is written down


def test_no_token_is_in_the_folder_or_in_an_error(rows: Path, run_folder: Path) -> None:
    assert not [file for file, data in contents(run_folder).items() if b"hf_secret" in data]
    record = json.loads((run_folder / "train_config.json").read_text())
    assert record["trainer"]["hub_token"] is None
    other = settings_of(rows, run_folder, trainer={"seed": 4, "hub_token": "hf_other"})
    assert "hf_" not in refused(other)
    assert "hub_token" not in refused(other)


def test_the_settings_that_are_written_down_are_a_config(run_folder: Path, rows: Path) -> None:
    written = TrainConfig.from_dict(json.loads((run_folder / "train_config.json").read_text()))
    assert written.data == settings_of(rows, run_folder).data


# ---------------------------------------------------------------- one process in a folder


def holding(settings: TrainConfig, in_training: Any) -> None:
    """Train, and stay in the first step."""
    from vega3d.training.trainer import Vega3DTrainer

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        in_training.set()
        signal.pause()

    Vega3DTrainer.training_step = training_step  # type: ignore[method-assign]
    train(settings)


def test_a_second_process_in_the_folder_is_refused_until_the_first_has_died(
    rows: Path, tmp_path: Path
) -> None:
    settings, in_training = settings_of(rows, tmp_path, trainer={"dataloader_num_workers": 1}), FORK.Event()
    first = FORK.Process(target=holding, args=(settings, in_training))
    first.start()
    try:
        assert in_training.wait(120)
        with pytest.raises(ConfigError, match="in use") as caught:
            train(settings)
        assert f"process {first.pid}" in str(caught.value)
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.join()
    assert train(settings).exists()  # no file has to be deleted first, though a worker may still live


def test_a_damaged_checkpoint_and_another_run_are_named_before_the_model_is_loaded(
    rows: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vega3d.training.finetune.load_parts", lambda *args: pytest.fail("loaded"))
    refused(settings_of(rows, run_folder, trainer={"seed": 4}))
    for path in checkpoints(run_folder):
        flip(path / "optimizer.pt")
    with pytest.raises(ValueError, match="Cannot resume from"):
        train(settings_of(rows, run_folder))


def test_a_checkpoint_to_resume_that_the_config_names_is_refused(annotations: Path, tmp_path: Path) -> None:
    named = {"resume_from_checkpoint": str(tmp_path / "checkpoint-2")}
    with pytest.raises(ConfigError, match=r"Invalid trainer\.resume_from_checkpoint"):
        train(config(annotations, tmp_path, "align", trainer=named))
