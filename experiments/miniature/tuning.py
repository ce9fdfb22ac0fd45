"""Fine-tuning one arm with one seed: the library's own run, from the same host, on the same rows.

Every arm has the same number of new parameters, to within one hidden unit: the projector's hidden width is
chosen for that. Random numbers are seeded again after projector and fusion are made, because arms draw
different numbers for them: so LoRA starts alike in all arms, and drops out alike. An arm that does not
listen keeps projector and gate frozen at the identity. This module knows no question.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import AutoConfig, set_seed

from experiments.miniature.arms import Arm
from experiments.miniature.config import Settings
from experiments.miniature.features import host_path
from experiments.miniature.rooms import ROWS
from vega3d.adapter import Vega3DAdapter
from vega3d.store import FeatureStore
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import FINAL, load_parts, make_trainer, run, training_arguments

REFERENCE = 128  # channels: every arm has the parameters that a projector of so many has


def hidden_width(channels: int, width: int, reference: int = REFERENCE) -> int:
    """Hidden width of a projector of ``channels`` with as many parameters as that of the reference.

    A projector is LayerNorm (2C), C x H + H, and H x D + D; the reference's H is D.
    """
    wanted = 2 * reference + (reference + 1) * width + (width + 1) * width
    return max(1, round((wanted - 2 * channels - width) / (channels + 1 + width)))


def tune(folder: Path, arm: Arm, seed: int, settings: Settings, rooms: Path, store: Path) -> dict[str, Any]:
    """Train; what a killed attempt left in ``folder`` is gone on from."""
    start, process = time.monotonic(), time.process_time()
    config = train_config(folder, seed, settings, rooms, store)
    arguments = training_arguments(config)
    adapter, processor = load_parts(config, arguments.seed)
    set_seed(arguments.seed)  # LoRA's start must not depend on how many numbers the projector took
    trainer = make_trainer(config, adapter, processor, arguments)
    if not arm.listens:
        _learn(adapter, False)
    model: Any = trainer.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    new = sum(p.numel() for part in (adapter.projector, adapter.fusion) for p in part.parameters())
    final = run(trainer, config)
    if not arm.listens:  # only what learned was written; the frozen identity belongs to the model, too
        _learn(adapter, True)
        trainer.save_model(str(final))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "losses": [loss if math.isfinite(loss) else None for loss in losses],
        "finite": all(math.isfinite(loss) for loss in losses),
        "watch": _last(trainer.state.log_history),
        "parameters": {"trained": trained, "new": new if arm.listens else 0},
        "steps": trainer.state.global_step,
        "clock": {"wall": time.monotonic() - start, "cpu": time.process_time() - process},
    }


def _learn(adapter: Vega3DAdapter, whether: bool) -> None:
    adapter.projector.requires_grad_(whether)
    adapter.fusion.requires_grad_(whether)


def train_config(folder: Path, seed: int, settings: Settings, rooms: Path, store: Path) -> TrainConfig:
    """The settings of one run."""
    held, own = FeatureStore(store), settings.tuning
    host = host_path(settings)
    width = AutoConfig.from_pretrained(host).get_text_config().hidden_size
    hidden = hidden_width(held.backbone["channels"], width)
    return TrainConfig.from_dict(
        {
            "model": {
                "host": host,
                "dtype": "float32",
                "backbone": held.backbone,
                "fusion": {"type": "gated_residual", "hidden": hidden},
            },
            "recipe": "lora",
            "lora": {"rank": own.rank, "alpha": own.rank, "dropout": own.dropout},
            "data": [{"file": str(rooms / "train" / ROWS)}],
            "store": {"path": str(store), "only": True},
            "sampling": {"nframes": settings.nframes},
            "new_modules_lr": own.new_lr,
            "trainer": {
                "output_dir": str(folder),
                "max_steps": own.steps,
                "per_device_train_batch_size": own.batch,
                "learning_rate": own.lr,
                "lr_scheduler_type": "cosine",
                "warmup_steps": max(1, own.steps // 30),
                "logging_steps": max(1, own.steps // 20),
                "save_steps": own.save,
                "save_total_limit": 1,
                "seed": seed,
                "data_seed": seed,
                "disable_tqdm": True,
            },
        }
    )


def final_of(folder: Path) -> Path:
    """The trained model of a stage's folder."""
    return folder / FINAL


def _last(history: list[dict[str, Any]]) -> dict[str, float]:
    """The fusion at the end, as far as it is a number."""
    found = [{k: v for k, v in entry.items() if k.startswith("fusion/")} for entry in history]
    last = next((entry for entry in reversed(found) if entry), {})
    return {name: value for name, value in last.items() if math.isfinite(value)}
