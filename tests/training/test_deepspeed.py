"""DeepSpeed on two processes of a CPU: every stage trains what one process trains, and none waits for ever.

Losses are compared over 20 steps, in which they fall from 10.5 to 0.3. In float32 they differ by less than
1e-4 of the first one (sums are taken in another order); in bfloat16 by less than 1e-2 (0.7e-2 was measured):
DDP computes under autocast from float32 weights, DeepSpeed from bfloat16 ones with float32 masters.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media
from tests.training.conftest import config, row
from tests.training.test_processes import FLOAT, ROOT, launch
from tests.training.test_trainer import tensors
from vega3d import Vega3DAdapter
from vega3d.training.arguments import report_locks
from vega3d.training.config import TrainConfig
from vega3d.training.export import export
from vega3d.training.finetune import load_parts, train

TOLERANCE = {False: 1e-4, True: 1e-2}  # by bf16
# Mean difference of a tensor's weights, of which a step moves those of the new modules by up to 1e-2.
WEIGHTS = {False: 1e-5, True: 5e-2}
STEPS = 20


def zero(stage: str) -> str:
    return str(ROOT / "configs" / "deepspeed" / f"zero{stage}.json")


def settings_of(annotations: Path, out: Path, recipe: str, stage: str | None, **trainer: Any) -> TrainConfig:
    """No dropout, and an order that does not depend on the number of processes."""
    own: dict[str, Any] = {"per_device_train_batch_size": 1, "max_grad_norm": 1.0, **trainer}
    if stage is not None:
        own["deepspeed"] = zero(stage)
    return config(
        annotations,
        out,
        recipe,
        model=FLOAT,
        lora={"rank": 4, "dropout": 0.0},
        batch_by="length",
        trainer=own,
    )


def losses(run: Path) -> list[float]:
    last = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rows of one kind: then every way of sharing them out has the same batches."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(8):
        media.photo(60, 60, seed=number).save(folder / f"{number}.png")
        asked = "<image>What is in " + "this " * number + "room?"
        rows.append(row(asked, "a bed" * (1 + number % 3), image=f"{number}.png"))
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return file


def write_table(media_folder: Path, folder: Path) -> Path:
    """Rows of text, pictures and clips in turn: neighbours are never of one kind."""
    rows = [
        row("<image>What is this?", "a bed", image=str(media_folder / "0.png"), video=None),
        row("What is two and two?", "four", image=None, video=None),
        row("<video>How many chairs?", "3", image=None, video=str(media_folder / "a.mp4")),
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows * 3))
    return folder


@pytest.fixture(scope="module")
def runs(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stage 2 with LoRA, the same taken up in its middle, on a stream, and stage 3 with all weights.

    Rows are text, pictures and clips: no rank waits for one that has none.
    """
    out = tmp_path_factory.mktemp("runs")
    second = settings_of(annotations, out / "second", "lora", "2", max_steps=4).to_dict()
    again = settings_of(annotations, out / "again", "lora", "2", max_steps=4).to_dict()
    third = settings_of(annotations, out / "third", "full", "3", max_steps=2).to_dict()
    mark = str(out / "again" / "checkpoint-4" / "complete.json")
    taken_up = {"settings": again, "copy": [str(out / "second"), str(out / "again")], "forget": [mark]}
    table = write_table(annotations.parent, tmp_path_factory.mktemp("table"))
    streamed = settings_of(annotations, out / "streamed", "lora", "2", max_steps=6, save_steps=6).to_dict()
    streamed |= {"data": [{"dataset": str(table), "streaming": True}], "batch_by": "random"}
    launch([{"settings": second}, taken_up, {"settings": third}, {"settings": streamed}], out)
    return out


def test_stage_2_with_lora_goes_on_as_if_it_had_not_been_killed(runs: Path) -> None:
    expected, again = tensors(runs / "second" / "final"), tensors(runs / "again" / "final")
    assert losses(runs / "second") == losses(runs / "again")
    assert len(losses(runs / "second")) == 4
    assert all(torch.equal(one, again[name]) for name, one in expected.items())


def test_the_lock_of_a_killed_compilation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    lock = tmp_path / "cpu_adam" / "lock"
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (0, 0))
    report_locks()
    assert re.search(rf"{lock}.* hours ago.*with cpu_adam waits[\s\S]*Delete it", capsys.readouterr().err)


def test_without_a_lock_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    report_locks()
    assert capsys.readouterr().err == ""


def test_stage_3_trains_all_weights_in_bfloat16_alone(pictures: Path, tmp_path: Path) -> None:
    """One process, as a single GPU with offload has; here its gathered weights are parts of one buffer."""
    settings = settings_of(pictures, tmp_path / "run", "full", "3", max_steps=2, save_steps=2, bf16=True)
    launch(settings, tmp_path, processes=1)
    found = tensors(export(tmp_path / "run" / "final", tmp_path / "out"))
    assert all(bool(one.isfinite().all()) for one in found.values())
    assert len(losses(tmp_path / "run")) == 2


def test_a_stream_of_every_kind_of_row_hangs_no_rank(runs: Path) -> None:
    assert len(losses(runs / "streamed")) == 6


def test_stage_3_writes_what_loads_as_the_trained_model(
    runs: Path, annotations: Path, tmp_path: Path
) -> None:
    found = tensors(runs / "third" / "final")
    adapter, _ = load_parts(settings_of(annotations, tmp_path, "full", None), 3)
    text = adapter.host.model.language_model
    shapes = {f"model.language_model.{name}": one.shape for name, one in text.named_parameters()}
    own = {name: one.shape for name, one in adapter.own_state().items()}
    assert {name: found[name].shape for name in shapes | own} == shapes | own
    loaded = Vega3DAdapter.from_pretrained(export(runs / "third" / "final", tmp_path / "out"))
    assert all(torch.equal(found[name], tensor) for name, tensor in loaded.own_state().items())
    again = dict(loaded.host.named_parameters())
    assert all(torch.equal(found[name].to(again[name]), again[name]) for name in shapes)


@pytest.mark.full
@pytest.mark.timeout(3600)  # 140 steps of one or two processes, and the compilation of an operator
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("recipe", ["lora", "full"])
def test_every_stage_trains_as_one_process_does(
    recipe: str, bf16: bool, pictures: Path, tmp_path: Path
) -> None:
    steps = {"max_steps": STEPS, "save_steps": STEPS, "bf16": bf16}
    train(settings_of(pictures, tmp_path / "alone", recipe, None, **steps, per_device_train_batch_size=2))
    expected = torch.tensor(losses(tmp_path / "alone"))
    assert len(expected) == STEPS
    assert expected[-4:].mean() < expected[:4].mean()
    stages = {"one": "1", "two": "2", "three": "3", "offload": "3_offload"}
    launch(settings_of(pictures, tmp_path / "ddp", recipe, None, **steps), tmp_path)
    launch(
        [
            {"settings": settings_of(pictures, tmp_path / name, recipe, stage, **steps).to_dict()}
            for name, stage in stages.items()
        ],
        tmp_path,
    )
    for name in ("ddp", *stages):
        found = torch.tensor(losses(tmp_path / name))
        assert (found - expected).abs().max() < TOLERANCE[bf16] * expected[0], (name, found - expected)
    for folder in (lambda path: path, lambda path: export(path, path / "out")):
        first, third = (tensors(folder(tmp_path / name / "final")) for name in ("one", "three"))
        assert first.keys() == third.keys()
        apart = [float((one.float() - third[name].float()).abs().mean()) for name, one in first.items()]
        assert max(apart) < WEIGHTS[bf16], max(apart)


@pytest.mark.full
@pytest.mark.parametrize("stage", ["2", "3"])
@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_rows_of_every_kind_hang_no_stage(recipe: str, stage: str, annotations: Path, tmp_path: Path) -> None:
    launch(settings_of(annotations, tmp_path / "run", recipe, stage, max_steps=8, save_steps=8), tmp_path)
    assert len(losses(tmp_path / "run")) == 8
