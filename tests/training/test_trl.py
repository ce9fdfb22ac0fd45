"""TRL's SFTTrainer trains a wrapped model with our collator, unmodified."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from tests.training.conftest import config
from vega3d.training import Collator
from vega3d.training.recipes import prepared
from vega3d.training.run import load_parts


def test_sfttrainer_trains_three_steps(annotations: Path, tmp_path: Path) -> None:
    settings = config(
        annotations,
        tmp_path,
        model={"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}},
    )
    adapter, processor = load_parts(settings, 0)
    model = prepared(adapter, "lora", settings.lora)
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
