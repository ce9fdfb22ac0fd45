"""Load, save and load again: the logits stay the same, and nothing of a checkpoint is left behind."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from peft import LoraConfig, PeftModel, get_peft_model

from tests import tiny
from tests.adapter.checkpoints import KINDS, host_of, load, logits, trained, write_checkpoint, write_host
from tests.adapter.conftest import wrap
from vega3d import Vega3DAdapter, WanBackbone, checkpoint
from vega3d.checkpoint.lora import Lora
from vega3d.errors import CheckpointError
from vega3d.training.config import Recipe
from vega3d.training.trained import adapter_of, write_trained


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_host(tmp_path_factory.mktemp("host") / "tiny")


@pytest.fixture(scope="module")
def checkpoints(
    host: Path, backbone: WanBackbone, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """One of each kind; never written to."""
    return {kind: write_checkpoint(kind, host, backbone, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_load_save_load_gives_the_same_logits(
    kind: str, checkpoints: dict[str, Path], host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    first = load(checkpoints[kind], backbone)
    first.save_pretrained(tmp_path / "again")
    again = load(tmp_path / "again", backbone)
    assert torch.equal(logits(again), logits(first))
    assert not torch.equal(logits(first), logits(wrap(host_of(host), backbone)))


@pytest.mark.parametrize("kind", KINDS)
def test_saving_twice_over_the_same_folder_changes_nothing(
    kind: str, checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    first = load(checkpoints[kind], backbone)
    first.save_pretrained(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    first.save_pretrained(tmp_path)
    load(tmp_path, backbone).save_pretrained(tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("kind", ["full", "merged"])
def test_a_saved_model_with_a_trained_host_needs_nothing_of_the_folder_that_it_came_from(
    kind: str, checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    source = shutil.copytree(checkpoints[kind], tmp_path / "source")
    model = load(source, backbone)
    model.save_pretrained(tmp_path / "again")
    shutil.rmtree(source)
    (tmp_path / "again").rename(tmp_path / "moved")
    assert torch.equal(logits(load(tmp_path / "moved", backbone)), logits(model))


def test_a_trained_host_whose_files_are_gone_is_an_error_when_the_model_is_saved(
    checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    source = shutil.copytree(checkpoints["merged"], tmp_path / "source")
    model = load(source, backbone)
    shutil.rmtree(source)
    with pytest.raises(CheckpointError, match="trained host"):
        model.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_lora_is_written_as_a_plain_peft_folder(
    checkpoints: dict[str, Path], host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    model = load(checkpoints["lora"], backbone)
    model.save_pretrained(tmp_path)
    text = tiny.for_host(tiny.make_batch(model.host, [[]]))
    peft = PeftModel.from_pretrained(host_of(host), tmp_path / "lora").eval()
    with torch.no_grad():
        assert torch.equal(peft(**text).logits, model(**text).logits)


def test_a_host_that_carries_lora_before_it_is_wrapped_is_saved_with_it(
    checkpoints: dict[str, Path], host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapted: Any = host_of(host)
    adapted.load_adapter(str(checkpoints["lora"] / "lora"))
    model = wrap(adapted, backbone)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(load(tmp_path, backbone)), logits(model))


@pytest.mark.parametrize("copied", [[], ["projector", "fusion"]])
def test_an_adapter_inside_peft_is_saved_with_its_lora(
    copied: list[str], host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapter = wrap(host_of(host), backbone)
    settings = LoraConfig(r=2, target_modules=adapter.family.lora_targets, modules_to_save=copied or None)
    model = get_peft_model(adapter, settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapter_of(model).save_pretrained(tmp_path)
    assert torch.equal(logits(load(tmp_path, backbone)), logits(adapter_of(model)))


def test_lora_in_the_projector_is_refused_before_anything_is_written(
    host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    adapter = wrap(host_of(host), backbone)
    model = get_peft_model(adapter, LoraConfig(r=2, target_modules=["down"]))
    with pytest.raises(CheckpointError, match="merge_and_unload"):
        adapter_of(model).save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_as_its_files_have_it_is_saved_without_a_warning(
    kind: str, checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    model = load(checkpoints[kind], backbone)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.save_pretrained(tmp_path)
        model.bfloat16().save_pretrained(tmp_path)
        cpu_offload(model.host, torch.device("cpu"))
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize("recipe", ["full", "lora"])
def test_a_host_that_was_trained_or_merged_in_memory_is_a_warning(
    recipe: Recipe, host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    model: Any = trained(host, backbone, recipe)
    adapter = model.merge_and_unload() if recipe == "lora" else model
    with pytest.warns(UserWarning, match=r"not saved: model\.language_model(?s:.)*host\.save_pretrained"):
        adapter.save_pretrained(tmp_path)


def test_two_adapters_in_one_host_are_refused_by_name(
    checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    model = load(checkpoints["lora"], backbone)
    model.host.load_adapter(str(checkpoints["lora"] / "lora"), adapter_name="second")
    with pytest.raises(CheckpointError, match="default, second"):
        model.save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_lora_of_an_earlier_checkpoint_in_the_folder_goes(
    checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["lora"], tmp_path / "folder")
    model = load(checkpoints["align"], backbone)
    model.save_pretrained(folder)
    assert not (folder / "lora").exists()
    assert torch.equal(logits(load(folder, backbone)), logits(model))


def test_a_lora_folder_that_is_not_part_of_the_checkpoint_is_refused(
    checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["align"], tmp_path / "folder")
    shutil.copytree(checkpoints["lora"] / "lora", folder / "lora")
    with pytest.raises(CheckpointError, match="lora: not part of"):
        load(folder, backbone)


def test_saving_over_the_trained_host_of_another_checkpoint_is_refused(
    checkpoints: dict[str, Path], backbone: WanBackbone, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoints["full"], tmp_path / "folder")
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for kind in ("align", "merged"):
        with pytest.raises(CheckpointError, match="another checkpoint's trained host"):
            load(checkpoints[kind], backbone).save_pretrained(folder)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_tensors_of_a_full_run_are_refused_with_a_given_host_too(
    host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    write_trained(tmp_path, trained(host, backbone, "full"))
    with pytest.raises(CheckpointError, match="vega3d export"):
        load(tmp_path, backbone, host=host_of(host))


def test_lora_whose_names_are_not_the_hosts_is_refused(
    checkpoints: dict[str, Path], host: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    saved = checkpoint.load(checkpoints["lora"])
    lora = Lora.read(checkpoints["lora"] / "lora")
    moved = {name.replace("layers.0", "layers.7"): tensor for name, tensor in lora.tensors.items()}
    checkpoint.save(tmp_path, saved.config, saved.tensors, lora=Lora(moved, lora.settings))
    with pytest.raises(CheckpointError, match=r"layers\.7"):
        load(tmp_path, backbone)


def test_push_refuses_a_trained_host_and_says_how_to_push_it(
    checkpoints: dict[str, Path], backbone: WanBackbone
) -> None:
    model: Vega3DAdapter = load(checkpoints["merged"], backbone)
    with pytest.raises(CheckpointError, match="vega3d push"):
        model.push_to_hub("me/model")
