"""The training section of a model card: hyper-parameters and metrics of the run that wrote the weights.

File names are written without their folders, which mean nothing on another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sized
from pathlib import Path
from typing import Any

from transformers import Trainer

from vega3d._utils import files
from vega3d.checkpoint.record import CARD_FILE, TRAINING, CardFacts, card, is_generated
from vega3d.training.banner import parameter_counts
from vega3d.training.branch import CONTRIBUTION
from vega3d.training.config import DataFile, TrainConfig
from vega3d.training.trained import adapter_of

SPEED = ("_runtime", "_per_second", "_flos", "epoch")  # of the machine, not of the model


def write_card(folder: Path, trainer: Trainer, config: TrainConfig) -> None:
    """Write the card of a trained model; one that was edited stays.

    Args:
        folder: of the trained model.
        trainer: after its last step.
        config: of the run.
    """
    file, settings = folder / CARD_FILE, adapter_of(trainer.model).vega3d_config
    if not file.exists() or is_generated(file.read_text("utf-8"), settings):
        text = card(settings, CardFacts(config.license, training_section(trainer, config)))
        files.write_whole(file, lambda part: part.write_text(text, encoding="utf-8"))


def training_section(trainer: Trainer, config: TrainConfig) -> str:
    """Two tables, in Markdown."""
    return "\n".join(
        [
            f"{TRAINING}",
            *_table("hyper-parameter", hyper_parameters(trainer, config)),
            "\n## Metrics\n",
            *_table("metric, last value", last_metrics(trainer.state.log_history)),
            "",
        ]
    )


def hyper_parameters(trainer: Trainer, config: TrainConfig) -> dict[str, Any]:
    """Settings that decide a run, by their names for readers."""
    arguments, rows = trainer.args, trainer.train_dataset
    trained, total = parameter_counts(trainer.model)
    batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    lora = config.lora
    facts = {
        "data": _sources(config.data),
        "rows of an epoch": f"{len(rows):,}" if isinstance(rows, Sized) else "a stream",
        "recipe": config.recipe,
        "LoRA": f"rank {lora.rank}, alpha {lora.alpha}, dropout {lora.dropout}",
        "trained parameters": f"{trained:,} of {total:,} ({trained / total:.2%})",
        "steps": f"{trainer.state.global_step:,}",
        "rows of a step": batch,
        "learning rate": arguments.learning_rate,
        "learning rate of projector and fusion": config.new_modules_lr or arguments.learning_rate,
        "schedule": _name(arguments.lr_scheduler_type),
        "warm-up": arguments.warmup_steps,
        "optimizer": _name(arguments.optim),
        "weight decay": arguments.weight_decay,
        "precision": "bfloat16" if arguments.bf16 else "float16" if arguments.fp16 else "float32",
        "seed": arguments.seed,
    }
    return facts if config.recipe == "lora" else {name: v for name, v in facts.items() if name != "LoRA"}


def last_metrics(history: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The last value of the training loss, of the contribution, and of each metric of an evaluation."""
    values: dict[str, str] = {}
    for entry in history:
        for name, value in entry.items():
            is_metric = name in ("train_loss", CONTRIBUTION) or (
                name.startswith("eval_") and not name.endswith(SPEED)
            )
            if is_metric and isinstance(value, int | float):
                values[name] = f"{value:.4g}"
    return values


def _sources(entries: Iterable[DataFile]) -> str:
    """Names of files and data sets; a local path without its folders."""
    names = [Path(entry.source).name if Path(entry.source).exists() else entry.source for entry in entries]
    return ", ".join(f"`{name}`" for name in names)


def _name(value: Any) -> str:
    return str(getattr(value, "value", value))


def _table(title: str, values: Mapping[str, Any]) -> list[str]:
    return [f"| {title} | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items())]
