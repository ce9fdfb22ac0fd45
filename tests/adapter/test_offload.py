"""A host whose weights accelerate keeps elsewhere answers as one that holds them, and swallows no weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model, init_empty_weights

from tests.adapter.checkpoints import load, logits
from tests.adapter.conftest import wrap
from tests.tiny import HOSTS, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.errors import CheckpointError
from vega3d.training.config import LoraSettings
from vega3d.training.recipes import apply_recipe
from vega3d.training.trained import write_trained

Move = Callable[[Any, Path], object]
CPU = torch.device("cpu")


def to_cpu(host: Any, folder: Path) -> None:
    cpu_offload(host, CPU)


def to_disk(host: Any, folder: Path) -> None:
    disk_offload(host, str(folder / "offloaded"), CPU)


def by_map(device_map: dict[str, str]) -> Move:
    def move(host: Any, folder: Path) -> None:
        dispatch_model(host, device_map, main_device="cpu", offload_dir=str(folder / "offloaded"))

    return move


MOVES: dict[str, Move] = {
    "cpu": to_cpu,
    "disk": to_disk,
    "map with the text on disk": by_map(
        {"model.visual": "cpu", "model.language_model": "disk", "lm_head": "cpu"}
    ),
    "map with the vision on disk": by_map(
        {"model.visual": "disk", "model.language_model": "cpu", "lm_head": "disk"}
    ),
}


@pytest.fixture(params=MOVES)
def move(request: pytest.FixtureRequest) -> Move:
    return MOVES[request.param]


def trained_adapter(name: str, backbone: WanBackbone) -> Vega3DAdapter:
    adapter = wrap(make_host(name), backbone)
    torch.nn.init.normal_(adapter.projector.down.weight)
    return adapter


def adapted(backbone: WanBackbone, folder: Path) -> Any:
    """A model with LoRA, and its checkpoint."""
    model = apply_recipe(wrap(make_host("qwen2_5_vl"), backbone), "lora", LoraSettings(rank=2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    write_trained(folder, model)
    return model


@pytest.mark.parametrize("name", HOSTS)
def test_an_offloaded_host_gives_the_same_logits(
    name: str, move: Move, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapter = trained_adapter(name, backbone)
    expected = logits(adapter)
    move(adapter.host, tmp_path)
    assert adapter.device == CPU
    assert torch.equal(logits(adapter), expected)


@pytest.mark.parametrize("name", HOSTS)
def test_an_offloaded_host_generates_the_same_tokens(
    name: str, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapter = trained_adapter(name, backbone)
    batch = make_batch(adapter.host, [[("image", 1, 4, 4)]])
    expected = adapter.generate(**batch, max_new_tokens=3, do_sample=False)
    to_disk(adapter.host, tmp_path)
    assert torch.equal(adapter.generate(**batch, max_new_tokens=3, do_sample=False), expected)


def test_a_checkpoint_loads_onto_a_host_that_is_offloaded_already(
    move: Move, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapter = trained_adapter("qwen2_5_vl", backbone)
    adapter.save_pretrained(tmp_path / "saved")
    host = make_host("qwen2_5_vl")
    move(host, tmp_path)
    again = load(tmp_path / "saved", backbone, host=host)
    assert torch.equal(logits(again), logits(adapter))


def test_lora_reaches_an_offloaded_host_or_is_refused(
    move: Move, backbone: WanBackbone, tmp_path: Path
) -> None:
    model = adapted(backbone, tmp_path / "saved")
    host = make_host("qwen2_5_vl")
    move(host, tmp_path)
    try:
        again = load(tmp_path / "saved", backbone, host=host)
    except CheckpointError as error:
        assert "offload" in str(error)  # noqa: PT017  (both outcomes are right, silence is not)
    else:
        assert torch.equal(logits(again), logits(model))


def test_a_wrapped_model_that_is_offloaded_as_a_whole_gives_the_same_logits(
    backbone: WanBackbone,
) -> None:
    adapter = trained_adapter("qwen2_5_vl", backbone)
    expected = logits(adapter)
    cpu_offload(adapter, CPU)
    assert torch.equal(logits(adapter), expected)


def test_an_offloaded_model_is_saved_with_its_weights(backbone: WanBackbone, tmp_path: Path) -> None:
    adapter = trained_adapter("qwen2_5_vl", backbone)
    expected = logits(adapter)
    cpu_offload(adapter, CPU)
    adapter.save_pretrained(tmp_path / "saved")
    assert torch.equal(logits(load(tmp_path / "saved", backbone, host=make_host("qwen2_5_vl"))), expected)


def test_an_offloaded_host_is_saved_with_its_lora(backbone: WanBackbone, tmp_path: Path) -> None:
    adapter = adapted(backbone, tmp_path / "saved")
    again = load(tmp_path / "saved", backbone, host=make_host("qwen2_5_vl"))
    cpu_offload(again.host, CPU)
    assert torch.equal(logits(again), logits(adapter))
    again.save_pretrained(tmp_path / "again")
    lora = "lora/adapter_model.safetensors"
    assert (tmp_path / "again" / lora).read_bytes() == (tmp_path / "saved" / lora).read_bytes()


def test_loading_onto_a_host_without_weights_is_refused(backbone: WanBackbone, tmp_path: Path) -> None:
    trained_adapter("qwen2_5_vl", backbone).save_pretrained(tmp_path)
    with init_empty_weights():
        host = make_host("qwen2_5_vl")
    with pytest.raises(CheckpointError, match="meta"):
        load(tmp_path, backbone, host=host)


def test_saving_weights_that_are_nowhere_is_refused(backbone: WanBackbone, tmp_path: Path) -> None:
    adapter = copy.deepcopy(trained_adapter("qwen2_5_vl", backbone)).to("meta")
    with pytest.raises(CheckpointError, match="meta"):
        adapter.save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none").exists()
