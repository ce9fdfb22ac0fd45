"""transformers' Trainer, with what a wrapped model needs and nothing else.

Everything else is the Trainer's: batches, accumulation, precision, schedules, several processes, DeepSpeed,
and an order of rows that comes from ``seed`` (or ``data_seed``) and goes on where it stopped. No method of
it is replaced from outside. Ours are: groups of parameters, checkpoints of trained tensors only and whole or
not at all, rows in blocks, and beside the loss what the fusion does, how fast it goes, and at each evaluation
the loss with the features of other media.

This module does not depend on settings files and recipes.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from vega3d._utils import files
from vega3d.data import Row
from vega3d.errors import ConfigError
from vega3d.training.checkpoints import keep_last, mark_complete, unmark
from vega3d.training.collator import require_own_batches
from vega3d.training.config import BatchBy
from vega3d.training.metrics import FusionMetrics, SpeedMetrics, Swap, TrainFlops
from vega3d.training.recipes import parameter_groups
from vega3d.training.sampler import GroupedSampler, TogetherSampler, length_of
from vega3d.training.trained import adapter_of, read_trained, write_trained


class Vega3DTrainer(Trainer):  # type: ignore[misc]  # untyped
    """Trains an adapter, or PEFT around one.

    Args:
        new_lr: learning rate of projector and fusion; None is ``args.learning_rate``.
        batch_by: ``random``, or ``length`` for batches of about equally long rows.
        together: batches hold whole groups of rows (``Row.group``).
        kwargs: of ``Trainer``.
    """

    def __init__(
        self,
        *,
        new_lr: float | None = None,
        batch_by: BatchBy = "random",
        together: bool = False,
        **kwargs: Any,
    ) -> None:
        self.new_lr, self.batch_by, self.together = new_lr, batch_by, together
        self.optimizer: torch.optim.Optimizer | None = None
        super().__init__(**kwargs)
        require_own_batches(self.accelerator, self.train_dataset)
        # Qwen2.5-VL's class declares no ``num_items_in_batch``, though its loss takes it. Without this line
        # each micro-batch would count the same however few answers it holds.
        self.model_accepts_loss_kwargs = True
        self.fusion, self.speed = FusionMetrics(self.model), SpeedMetrics()
        self.swap = Swap(self.model)
        self.flops = TrainFlops(adapter_of(self.model))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer that ``args.optim`` names, over ``parameter_groups``.

        Raises:
            ConfigError: the optimizer brings parameters of its own (GaLore, LOMO, ...).
        """
        if self.optimizer is None:
            trained = self.model if model is None else model
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
            is_class = isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)  # or a factory
            if {"params", "model", "optimizer_dict"} & set(options) or not is_class:
                title = f"Invalid trainer.optim {self.args.optim!s}: it chooses its parameters itself."
                expected = "an optimizer that takes groups: adamw_torch, adamw_torch_fused, adafactor, ..."
                fix = "trainer.optim=adamw_torch"
                raise ConfigError(title, got=str(self.args.optim), expected=expected, fix=fix)
            groups = parameter_groups(
                trained, lr=self.args.learning_rate, new_lr=self.new_lr, weight_decay=self.args.weight_decay
            )
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, which would keep the steps at which the checkpoint's run logged and saved."""
        result = super()._init_training_state(max_steps, *args, **kwargs)
        self.state.compute_steps(self.args, max_steps)
        if self.state.global_step > max_steps:
            raise ConfigError(
                f"Invalid number of steps, {max_steps:,}: this run has already trained more steps.",
                got=f"{max_steps:,} steps by trainer.max_steps or trainer.num_train_epochs",
                expected=f"at least the {self.state.global_step:,} steps of its last checkpoint",
                fix="raise the number of steps, or choose another trainer.output_dir",
            )
        return result

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """The Trainer's, unless all steps are done: a run that was killed at its very end trains no more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with what the fusion did since the last time beside a training loss."""
        if "loss" in logs:  # every process comes here, as the sum over all of them needs
            logs = logs | self.fusion.read(self.args.device, self._summed)
            logs |= self.speed.read(self.args.device, self.accelerator.gather)
        super().log(logs, start_time)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The next batches, and how long they kept the model waiting."""
        start = time.perf_counter()
        batches = super().get_batch_samples(*args, **kwargs)
        self.speed.wait(time.perf_counter() - start)
        return batches

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Operations of the host on a batch; the Trainer adds them up as ``total_flos``."""
        operations = self.flops(inputs)
        self.speed.add(inputs, operations)
        return int(operations)

    def evaluation_loop(self, dataloader: Any, description: str, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, and the loss once more with the features of other media."""
        output = super().evaluation_loop(dataloader, description, *args, **kwargs)
        prefix = kwargs.get("metric_key_prefix", "eval")
        if f"{prefix}_loss" in output.metrics:
            with self.swap.on() as swap:
                again = super().evaluation_loop(dataloader, "Swapped features", True, None, "swapped")
            if float(self._summed(torch.tensor(float(swap.swapped), device=self.args.device))):
                output.metrics[f"{prefix}_loss_swapped"] = again.metrics["swapped_loss"]
        return output

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The Trainer's; ours by length, and under DeepSpeed, whose ranks need the same kind of media."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.together:
            return self._together_sampler(rows)
        by_length = self.batch_by == "length"
        if not (by_length or self.is_deepspeed_enabled) or not all(isinstance(row, Row) for row in rows):
            return super()._get_train_sampler(train_dataset)
        lengths = [length_of(row) for row in rows] if by_length else None
        kinds = [row.kind if self.is_deepspeed_enabled else () for row in rows]
        block = self._train_batch_size * self.args.world_size
        return GroupedSampler(kinds, block, self._order_seed, lengths, fill=self.is_deepspeed_enabled)

    @property
    def _order_seed(self) -> int:
        return int(self.args.seed if self.args.data_seed is None else self.args.data_seed)

    def _together_sampler(self, rows: Any) -> TogetherSampler:
        """Whole groups in each batch of a process; under DeepSpeed all rows have to be of one kind."""
        if self.is_deepspeed_enabled and len({row.kind for row in rows}) > 1:
            title = "Invalid group_by: under DeepSpeed its rows have to be of one kind."
            got, fix = "rows with and without pictures or videos", "group_by without DeepSpeed, or one kind"
            raise ConfigError(title, got=got, expected="the same kinds of media in each row", fix=fix)
        return TogetherSampler([row.group for row in rows], self._train_batch_size, self._order_seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        """The Trainer's; under DeepSpeed one in which all processes have the same kind of media."""
        if not self.is_deepspeed_enabled or not all(isinstance(row, Row) for row in eval_dataset):
            return super()._get_eval_sampler(eval_dataset)
        block = self.args.eval_batch_size * self.args.world_size
        return GroupedSampler([row.kind for row in eval_dataset], block, 0)

    def _summed(self, value: Tensor) -> Tensor:
        total: Tensor = self.accelerator.reduce(value, reduction="sum")
        return total

    # ---------------------------------------------------------------- checkpoints

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """Trained tensors only; the Trainer would write the whole host, and its arguments as a pickle."""
        if self.args.should_save:
            write_trained(
                output_dir or self.args.output_dir, self.accelerator.unwrap_model(self.model), state_dict
            )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """As the Trainer does, then the mark that it is whole, and only then older ones go."""
        folder = Path(self._get_output_dir(trial=trial))
        path = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        with files.writing(path):
            if self.args.should_save:
                unmark(path)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()  # each process writes the state of its own random numbers
        if self.args.should_save:
            mark_complete(path)
            keep_last(folder, limit, self.state.best_model_checkpoint, newest=path)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """The Trainer's, which starts both anew where a checkpoint has none, and does not mention it."""
        in_one_file = not (self.is_deepspeed_enabled or self.is_fsdp_enabled)
        if checkpoint is not None and in_one_file and not (Path(checkpoint) / OPTIMIZER_NAME).exists():
            warnings.warn(
                f"{checkpoint} has no {OPTIMIZER_NAME} (trainer.save_only_model): the optimizer starts anew, "
                "and the weights will not be those of a run that was not stopped.",
                stacklevel=2,
            )
        super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        read_trained(
            resume_from_checkpoint, self.accelerator.unwrap_model(self.model if model is None else model)
        )
