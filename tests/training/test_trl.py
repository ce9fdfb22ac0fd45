"""TRL's trainers train a wrapped model, unmodified: ours with our collator, and one step of each family."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from tests import processors
from tests.adapter.conftest import SETTINGS, wrap
from tests.tiny import HOSTS, Media, make_batch, make_host
from tests.training.conftest import config
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.pico import pico_path
from vega3d.training import Collator
from vega3d.training.finetune import load_parts
from vega3d.training.recipes import apply_recipe


def test_sfttrainer_trains_three_steps(annotations: Path, tmp_path: Path) -> None:
    settings = config(
        annotations,
        tmp_path,
        model={"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}},
    )
    adapter, processor = load_parts(settings, 0)
    model = apply_recipe(adapter, "lora", settings.lora)
    folder = annotations.parent
    records = []
    for line in annotations.read_text().splitlines():
        found = json.loads(line)
        images = found.pop("image", [])
        found["images"] = [str(folder / one) for one in ([images] if isinstance(images, str) else images)]
        found["videos"] = [str(folder / one) for one in [found.pop("video", None)] if one]
        records.append(found)
    before = {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path),
            max_steps=3,
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            use_cpu=True,
            bf16=False,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        ),
        data_collator=Collator(processor, sampling={"nframes": 2}),
        train_dataset=Dataset.from_list(records),
        processing_class=processor.processor,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert all(torch.isfinite(torch.tensor(losses)))
    after = dict(model.named_parameters())
    changed = [name for name, one in before.items() if not torch.equal(one, after[name])]
    assert any("lora_B" in name for name in changed)
    assert any("projector" in name for name in changed)


ROW: list[Media] = [("image", 1, 4, 4), ("video", 3, 4, 4)]
PAIR = {"prompt": "a", "chosen": "b", "rejected": "c"}  # TRL wants text; the collators make the batch


def model_of(name: str) -> Vega3DAdapter:
    """A tiny host, frozen, so that projector and fusion are all that is trained."""
    backbone = WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)
    return wrap(make_host(name).requires_grad_(False), backbone).train()


def pairs(host: Any, side: str) -> dict[str, Any]:
    """Two rows with the same media, chosen and rejected, and the answer's three tokens marked."""
    batch = make_batch(host, [ROW, ROW], side)
    mask = torch.zeros_like(batch["input_ids"])
    mask[:, -3:] = 1
    return batch | {"completion_mask": mask}


def one_step(trainer: Any, model: Any) -> float:
    """The loss of the step, after which the projector has moved."""
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 1
    assert torch.isfinite(torch.tensor(losses)).all()
    after = dict(model.named_parameters())
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert any("projector" in name for name in moved)
    return float(losses[0])


def options(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "logging_steps": 1,
        "save_strategy": "no",
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }


@pytest.mark.parametrize("name", HOSTS)
def test_sfttrainer_runs_a_step_of_every_family(name: str, tmp_path: Path) -> None:
    model = model_of(name)

    def collate(rows: list[Any]) -> dict[str, Any]:
        batch = make_batch(model.host, [ROW, []], "right")
        return batch | {"labels": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)}

    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**options(tmp_path), dataset_kwargs={"skip_prepare_dataset": True}),
        data_collator=collate,
        train_dataset=Dataset.from_list([PAIR] * 2),
        processing_class=processors.tokenizer(),
    )
    one_step(trainer, model)


@pytest.mark.parametrize("name", HOSTS)
def test_dpotrainer_runs_a_step_of_every_family(name: str, tmp_path: Path) -> None:
    adapter = model_of(name)
    targets = adapter.family.lora_targets
    lora = LoraConfig(r=2, target_modules=targets, modules_to_save=["projector", "fusion"])
    model = get_peft_model(adapter, lora)  # without PEFT, TRL loads the reference from the host's path
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(**options(tmp_path)),
        data_collator=lambda rows: pairs(adapter.host, "right"),
        train_dataset=Dataset.from_list([PAIR] * 2),
        processing_class=processors.tokenizer(),
    )
    assert one_step(trainer, model) == pytest.approx(math.log(2), abs=1e-3)  # the model is the reference


@pytest.mark.parametrize("name", HOSTS)
def test_rewardtrainer_runs_a_step_of_every_family(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    host = model.host
    host.config.num_labels = 1
    host.lm_head = torch.nn.Linear(host.lm_head.in_features, 1)  # a reward instead of a vocabulary

    def collate(rows: list[Any]) -> dict[str, Any]:
        batch = pairs(host, "left")
        del batch["completion_mask"]
        return batch | {"logits_to_keep": 1}

    trainer = RewardTrainer(
        model=model,
        args=RewardConfig(**options(tmp_path)),
        data_collator=collate,
        train_dataset=Dataset.from_list([PAIR] * 2),
        processing_class=processors.tokenizer(),
    )
    one_step(trainer, model)
