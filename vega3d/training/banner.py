"""The lines that a run prints before its first step: its rows, its parameters, its store, its start."""

from __future__ import annotations

from collections.abc import Sized
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer, TrainerCallback

from vega3d._utils.progress import note
from vega3d.training.config import TrainConfig


class Banner(TrainerCallback):  # type: ignore[misc]  # untyped
    """Prints the banner in the first process.

    Args:
        trainer: of the run.
        config: of the run.
        checkpoint: to resume; None starts anew.
    """

    def __init__(self, trainer: Trainer, config: TrainConfig, checkpoint: Path | None) -> None:
        self.trainer, self.config, self.checkpoint = trainer, config, checkpoint

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        if state.is_world_process_zero:
            for line in banner(self.trainer, self.config, self.checkpoint):
                note(line)


def banner(trainer: Trainer, config: TrainConfig, checkpoint: Path | None) -> list[str]:
    """The lines of the banner.

    Args:
        trainer: of the run, whose number of steps is known.
        config: of the run.
        checkpoint: to resume; None starts anew.
    """
    model, arguments, state = config.model, trainer.args, trainer.state
    trained, total = parameter_counts(trainer.model)
    rows = f"{len(trainer.train_dataset):,}" if isinstance(trainer.train_dataset, Sized) else "a stream of"
    batch = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
    evaluated = f", {len(trainer.eval_dataset):,} to evaluate" if trainer.eval_dataset is not None else ""
    store = "none: features are computed in every step"
    if config.store.path is not None:
        store = (
            f"{config.store.path}, {'and no other features' if config.store.only else 'others are computed'}"
        )
    start = "from the first step" if checkpoint is None else f"{checkpoint}, step {state.global_step:,}"
    return [
        f"model    {model.checkpoint or model.host}, recipe {config.recipe}",
        f"rows     {rows} rows an epoch{evaluated}",
        f"steps    {state.max_steps:,} of {batch} rows",
        f"trained  {trained:,} of {total:,} parameters ({trained / total:.2%})",
        f"store    {store}",
        f"resume   {start}",
        f"folder   {arguments.output_dir}",
    ]


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Numbers of trained and of all parameters; the frozen generator is not part of the model."""
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return sum(size for size, is_trained in sizes if is_trained), sum(size for size, _ in sizes)
