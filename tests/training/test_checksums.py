"""One flipped bit in a checkpoint of a run is found, named, and never trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.training.conftest import config
from tests.training.test_trainer import tensors
from vega3d.errors import CheckpointError
from vega3d.training.checkpoints import damage, is_complete, keep_last, last_complete, mark_complete
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train

STATE = ("vega3d_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json")


def flip(file: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def settings_of(annotations: Path, out: Path, **trainer: object) -> TrainConfig:
    return config(annotations, out, "align", trainer={"max_steps": 4, **trainer})


@pytest.fixture(scope="module")
def whole(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with checkpoints at 2 and 4; tests do not change it."""
    folder = tmp_path_factory.mktemp("whole")
    train(settings_of(annotations, folder))
    return folder


@pytest.fixture
def run_folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", STATE)
def test_one_flipped_bit_makes_a_checkpoint_damaged(name: str, run_folder: Path) -> None:
    assert damage(run_folder / "checkpoint-4") is None
    flip(run_folder / "checkpoint-4" / name)
    found, skipped = last_complete(run_folder)
    assert found == run_folder / "checkpoint-2"
    assert [path.name for path in skipped] == ["checkpoint-4"]
    assert name in str(damage(run_folder / "checkpoint-4"))


@pytest.mark.parametrize("name", STATE[:3])
def test_the_same_command_goes_back_to_the_checkpoint_before_and_ends_alike(
    name: str, annotations: Path, whole: Path, run_folder: Path
) -> None:
    flip(run_folder / "checkpoint-4" / name)
    shutil.rmtree(run_folder / "final")
    with pytest.warns(UserWarning, match=rf"checkpoint-4 is skipped.*{name}"):
        again = tensors(train(settings_of(annotations, run_folder)))
    assert all(torch.equal(tensor, again[key]) for key, tensor in tensors(whole / "final").items())
    assert damage(run_folder / "checkpoint-4") is None  # it was written again


@pytest.mark.parametrize("name", ["vega3d_model.safetensors", "optimizer.pt", "complete.json"])
def test_a_run_whose_only_checkpoint_is_damaged_stops_and_changes_nothing(
    name: str, annotations: Path, run_folder: Path
) -> None:
    shutil.rmtree(run_folder / "checkpoint-2")
    flip(run_folder / "checkpoint-4" / name)
    before = {file: file.read_bytes() for file in run_folder.rglob("*") if file.is_file()}
    with pytest.raises(CheckpointError, match=r"checkpoint-4.*" + name.replace(".", r"\.")):
        train(settings_of(annotations, run_folder))
    assert {file: file.read_bytes() for file in before} == before


def test_a_mark_with_sizes_alone_is_still_read(run_folder: Path) -> None:
    mark = run_folder / "checkpoint-4" / "complete.json"
    record = json.loads(mark.read_text())
    mark.write_text(json.dumps({"files": record["files"]}))
    assert last_complete(run_folder) == (run_folder / "checkpoint-4", {})


def test_a_checksum_that_is_gone_is_no_older_mark(run_folder: Path) -> None:
    mark = run_folder / "checkpoint-4" / "complete.json"
    record = json.loads(mark.read_text())
    del record["xxh3"]["optimizer.pt"]
    mark.write_text(json.dumps(record))
    assert last_complete(run_folder)[0] == run_folder / "checkpoint-2"


def test_every_file_of_a_checkpoint_has_a_checksum(run_folder: Path) -> None:
    folder = run_folder / "checkpoint-4"
    record = json.loads((folder / "complete.json").read_text())
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert record["xxh3"].keys() == record["files"].keys() == files - {"complete.json"}


def test_a_damaged_newer_checkpoint_does_not_push_out_what_was_trained_instead(tmp_path: Path) -> None:
    for number in (4, 5, 6):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"1234")
        mark_complete(folder)
    flip(tmp_path / "checkpoint-6" / "weights")
    assert is_complete(tmp_path / "checkpoint-6")  # its sizes fit
    keep_last(tmp_path, 1, newest=tmp_path / "checkpoint-5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-6"]
    assert last_complete(tmp_path)[0] == tmp_path / "checkpoint-5"
