"""Two processes train as one does, whatever stands in whose batch, and are taken up together."""

from __future__ import annotations

import copy
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.training.conftest import config
from tests.training.test_trainer import tensors
from vega3d.errors import ConfigError
from vega3d.training import same_run
from vega3d.training.checkpoints import is_complete
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import train

ROOT = Path(__file__).parents[2]
FLOAT = {"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}}


def settings_of(annotations: Path, out: Path, recipe: str, **trainer: Any) -> TrainConfig:
    """Four steps of two rows; no dropout, so that the same rows give the same gradients."""
    steps = {"max_steps": 4, "learning_rate": 1e-3, "max_grad_norm": 1.0, **trainer}
    return config(annotations, out, recipe, model=FLOAT, lora={"rank": 4, "dropout": 0.0}, trainer=steps)


def launch(runs: TrainConfig | list[dict[str, Any]], folder: Path, processes: int = 2) -> None:
    """Run configs, one after the other, on several processes that talk over gloo."""
    file = folder / "settings.json"
    jobs = runs if isinstance(runs, list) else [{"settings": runs.to_dict()}]
    file.write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    command += [str(ROOT / "tests" / "training" / "two_processes.py"), str(file)]
    result = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=1500)
    assert result.returncode == 0, result.stderr[-4000:]


def logged(run: Path) -> list[dict[str, Any]]:
    state: dict[str, Any] = json.loads((run / "checkpoint-2" / "trainer_state.json").read_text())
    return list(state["log_history"])


def launch_hosts(settings: TrainConfig, folder: Path) -> None:
    """Run a config as two hosts would, each with a launcher of its own and one process."""
    file = folder / "settings.json"
    file.write_text(json.dumps([{"settings": settings.to_dict()}]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = ["--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={port}"]
    script = [str(ROOT / "tests" / "training" / "two_processes.py"), str(file)]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *world, f"--node-rank={rank}", *script],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for host in hosts:
        _, said = host.communicate(timeout=580)
        assert host.returncode == 0, said[-4000:]


@pytest.mark.parametrize(("recipe", "start"), [("align", launch_hosts), ("lora", launch)])
def test_two_processes_end_with_the_weights_of_one(
    recipe: str, start: Any, annotations: Path, tmp_path: Path
) -> None:
    one = settings_of(annotations, tmp_path / "one", recipe, max_steps=3)
    alone = tensors(train(one))
    two = settings_of(annotations, tmp_path / "two", recipe, max_steps=3, per_device_train_batch_size=1)
    start(two, tmp_path)
    together = tensors(tmp_path / "two" / "final")
    assert alone.keys() == together.keys()
    # Adam divides a gradient by its size: where it is nearly zero, rounding alone moves single numbers.
    assert all((one - together[name]).norm() <= 1e-3 * one.norm() for name, one in alone.items())
    logs = [
        json.loads((tmp_path / name / "checkpoint-2" / "trainer_state.json").read_text())
        for name in ("one", "two")
    ]
    for own, other in zip(*(state["log_history"] for state in logs), strict=True):
        assert other["loss"] == pytest.approx(own["loss"], rel=1e-3)
        assert other.get("fusion/gate", 0) == pytest.approx(own.get("fusion/gate", 0), abs=1e-3)


def test_two_processes_go_on_from_their_last_whole_checkpoint(annotations: Path, tmp_path: Path) -> None:
    settings = settings_of(annotations, tmp_path / "run", "lora", per_device_train_batch_size=1)
    launch(settings, tmp_path)
    expected = tensors(tmp_path / "run" / "final")
    assert is_complete(tmp_path / "run" / "checkpoint-2")
    shutil.rmtree(tmp_path / "run" / "final")
    (tmp_path / "run" / "checkpoint-4" / "complete.json").unlink()  # killed before it was whole
    launch(settings, tmp_path)
    again = tensors(tmp_path / "run" / "final")
    assert all(torch.equal(one, again[name]) for name, one in expected.items())


@pytest.mark.full
def test_another_run_in_the_folder_is_refused_in_both_processes_at_once(
    annotations: Path, tmp_path: Path
) -> None:
    settings = settings_of(annotations, tmp_path / "run", "align", per_device_train_batch_size=1)
    launch(settings, tmp_path)
    other = settings_of(annotations, tmp_path / "run", "align", per_device_train_batch_size=1, seed=9)
    with pytest.raises(AssertionError, match=r"trainer\.seed: 9"):
        launch(other, tmp_path)
    with pytest.raises(AssertionError, match="rows of a batch, over all processes: 1"):
        launch(settings, tmp_path, processes=1)
    alone = settings_of(annotations, tmp_path / "run", "align", per_device_train_batch_size=2)
    launch(alone, tmp_path, processes=1)  # the same rows in a batch: the same run


def test_the_first_processs_error_is_raised_in_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConfigError("The folder holds another run.", got="seed: 1")

    def broadcast(outcome: list[Any]) -> None:
        outcome[:] = copy.deepcopy([None, error])  # by its state, as it is sent

    monkeypatch.setattr(same_run, "broadcast_object_list", broadcast)
    other = SimpleNamespace(world_size=2, process_index=1)
    with pytest.raises(ConfigError, match="seed: 1") as caught:
        same_run._by_the_first(lambda: pytest.fail("compared twice"), other)  # type: ignore[arg-type]
    assert caught.value.got == "seed: 1"
