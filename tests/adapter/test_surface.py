"""Stock Trainer and PEFT treat the adapter as they treat its host."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments

from tests.adapter import two_ranks
from tests.adapter.conftest import SETTINGS, wrap
from tests.tiny import Media, for_host, make_batch, make_host
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone
from vega3d.pico import pico_path

SAMPLES: list[list[Media]] = [
    [("image", 1, 4, 6)],
    [],
    [("video", 3, 4, 4)],
    [("image", 1, 4, 4), ("image", 1, 2, 8)],
    [],
    [("video", 2, 4, 4), ("image", 1, 4, 4)],
    [("image", 1, 6, 4)],
    [("video", 5, 2, 4)],
]


def losses(model: Any, host: Any, keep: Any, folder: Path) -> list[float]:
    """Loss of each step of a stock Trainer over ragged samples, two to a batch, accumulated over two."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        max_steps=2,
        learning_rate=0.0,  # every step is seen from the same weights
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        remove_unused_columns=False,
        seed=3,
    )

    def collate(rows: list[list[Media]]) -> dict[str, Any]:
        batch = make_batch(host, rows, "right", seed=len(rows[0]))
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[0, : labels.shape[1] // 2] = -100  # ragged: rows count differing numbers of tokens
        return keep(batch) | {"labels": labels}

    trainer = Trainer(model=model, args=arguments, train_dataset=SAMPLES, data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_the_stock_trainer_reports_the_same_loss_as_for_the_host_alone(
    name: str, backbone: WanBackbone, tmp_path: Path
) -> None:
    host = make_host(name)
    alone = losses(copy.deepcopy(host), host, for_host, tmp_path / "host")
    wrapped = losses(wrap(host, backbone), host, dict, tmp_path / "adapter")
    assert wrapped == alone
    assert len(alone) == 2


def lora(model: Any) -> PeftModel:
    config = LoraConfig(
        r=4, target_modules=model.family.lora_targets, modules_to_save=["projector", "fusion"]
    )
    return get_peft_model(model, config)


def test_peft_trains_lora_projector_and_fusion_and_nothing_else(backbone: WanBackbone) -> None:
    model = lora(wrap(make_host("qwen2_5_vl"), backbone))
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    kinds = ("lora_", "projector.modules_to_save", "fusion.modules_to_save")
    assert all(any(kind in name for kind in kinds) for name in names)
    assert all(any(kind in name for name in names) for kind in kinds)


def test_lora_covers_all_seven_linears_of_every_layer_and_no_vision(backbone: WanBackbone) -> None:
    model = lora(wrap(make_host("qwen2_5_vl"), backbone))
    touched = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    assert len(touched) == 7 * 2
    assert not any("visual" in name for name in touched)


@pytest.mark.exact
def test_a_peft_wrapped_adapter_gives_the_hosts_logits(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    batch = make_batch(host, SAMPLES[:4])
    with torch.no_grad():
        alone = host(**for_host(batch)).logits
        assert torch.equal(lora(wrap(host, backbone)).eval()(**batch).logits, alone)


def test_the_trainer_trains_a_peft_wrapped_adapter_with_checkpointing(
    backbone: WanBackbone, tmp_path: Path
) -> None:
    model = lora(wrap(make_host("qwen2_5_vl"), backbone))
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=3,
        learning_rate=1e-2,
        per_device_train_batch_size=2,
        gradient_checkpointing=True,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        remove_unused_columns=False,
    )
    host = model.base_model.model.host

    def collate(rows: list[list[Media]]) -> dict[str, Any]:
        batch = make_batch(host, rows, "right")
        return batch | {"labels": batch["input_ids"]}

    Trainer(model=model, args=arguments, train_dataset=SAMPLES, data_collator=collate).train()
    still = [name for name, p in model.named_parameters() if p.requires_grad and torch.equal(p, before[name])]
    assert still == []


@pytest.mark.parametrize("training", [True, False])
def test_wrapping_keeps_the_hosts_mode(training: bool, backbone: WanBackbone) -> None:
    model = Vega3DAdapter(make_host("qwen2_5_vl").train(training), backbone=backbone)
    assert {module.training for module in model.modules()} == {training}


def test_the_adapter_answers_for_its_host(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl", torch.bfloat16)
    model = wrap(host, backbone)
    forwarded = ["config", "generation_config", "name_or_path", "device", "dtype", "accepts_loss_kwargs"]
    forwarded += ["main_input_name", "base_model_prefix", "is_gradient_checkpointing"]
    assert [getattr(model, name) for name in forwarded] == [getattr(host, name) for name in forwarded]
    assert model.get_input_embeddings() is host.get_input_embeddings()
    assert model.get_output_embeddings() is host.get_output_embeddings()


def test_new_modules_stay_in_float32_beside_a_bfloat16_host(backbone: WanBackbone) -> None:
    model = wrap(make_host("qwen2_5_vl", torch.bfloat16), backbone)
    dtypes = {p.dtype for module in (model.projector, model.fusion) for p in module.parameters()}
    assert dtypes == {torch.float32}


def test_autocast_does_not_lower_the_precision_of_new_modules(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    model = wrap(host, backbone, "paper")
    batch = make_batch(host, [[("image", 1, 4, 4)]])
    with torch.no_grad():
        plain = model.encode(**batch)
        semantic = host.get_image_features(batch["pixel_values"], batch["image_grid_thw"]).pooler_output[0]
        with torch.autocast("cpu", torch.bfloat16):
            cast = model.encode(**batch)
    assert semantic.dtype == torch.float32
    assert (cast.reports[0].gate - plain.reports[0].gate).abs().max() < 0.02
    assert cast.reports[0].gate.dtype == torch.float32


def test_a_copy_of_the_adapter_shares_the_frozen_backbone(backbone: WanBackbone) -> None:
    model = wrap(make_host("qwen2_5_vl"), backbone)
    assert copy.deepcopy(model).backbone is backbone


def test_wrap_loads_the_backbone_that_the_config_names() -> None:
    settings = dataclasses.replace(SETTINGS, path=str(pico_path("wan")))
    model = Vega3DAdapter.wrap(make_host("qwen2_5_vl"), Vega3DConfig(backbone=settings))
    assert model.backbone is not None
    assert model.vega3d_config.backbone.channels == 128


def test_a_rank_without_media_does_not_hang_ddp_and_sees_the_same_gradient(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(two_ranks.step, args=(str(tmp_path),), nprocs=2)
    grads = [load_file(tmp_path / f"grad-{rank}.safetensors")["grad"] for rank in (0, 1)]
    assert torch.equal(*grads)
    assert grads[0].abs().sum() > 0
