"""A disk that is full ends a run with one typed error, and the same command resumes it afterwards."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import config
from tests.training.test_trainer import tensors
from vega3d.errors import Vega3DError, WriteError
from vega3d.training import trainer as trainer_module
from vega3d.training.checkpoints import last_complete, mark_complete
from vega3d.training.finetune import train

FORK = multiprocessing.get_context("fork")


def child(settings: Any, limit: int, said: Any) -> None:
    """Train; after the first checkpoint no file may grow beyond ``limit`` bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def mark(folder: Path) -> None:
        mark_complete(folder)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    trainer_module.mark_complete = mark  # type: ignore[assignment]
    try:
        train(settings)
    except Vega3DError as error:
        said.put((type(error).__name__, str(error)))
    except BaseException as error:
        said.put((f"not typed: {type(error).__name__}", str(error)))
    said.close()
    said.join_thread()
    os._exit(0)


def trained_with(settings: Any, limit: int) -> tuple[str, str]:
    said = FORK.Queue()
    process = FORK.Process(target=child, args=(settings, limit, said))
    process.start()
    name, text = said.get(timeout=300)
    process.join()
    return name, text


@pytest.mark.parametrize("what", ["optimizer.pt", "vega3d_model.safetensors"])
def test_a_full_disk_is_a_typed_error_and_the_run_resumes(
    what: str, annotations: Path, tmp_path: Path
) -> None:
    whole = train(config(annotations, tmp_path / "whole", "align", trainer={"max_steps": 4}))
    size = (tmp_path / "whole" / "checkpoint-4" / what).stat().st_size
    settings = config(annotations, tmp_path / "run", "align", trainer={"max_steps": 4})
    name, text = trained_with(settings, size - 1)
    assert name in ("WriteError", "CheckpointError"), text
    assert "Cannot write" in text
    assert str(tmp_path / "run" / "checkpoint-4") in text
    assert last_complete(tmp_path / "run")[0] == tmp_path / "run" / "checkpoint-2"
    expected, again = tensors(whole), tensors(train(settings))
    assert all(torch.equal(tensor, again[key]) for key, tensor in expected.items())


def test_a_file_of_torch_without_its_end_is_a_typed_error(tmp_path: Path) -> None:
    """As torch 2.9 leaves it, without an error, on a disk that fills up with the last bytes."""
    file = tmp_path / "optimizer.pt"
    torch.save({"step": torch.zeros(100)}, file)
    mark_complete(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(WriteError, match=r"Cannot write .*optimizer\.pt"):
        mark_complete(tmp_path)


def test_a_folder_that_cannot_be_made_is_a_typed_error(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError):
        train(config(annotations, tmp_path / "file" / "run", "align"))
