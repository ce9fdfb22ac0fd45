"""Cost of a run: trained parameters, memory on each GPU, steps, hours.

Parameters are counted on the real classes on the meta device, by the very recipe that trains them; nothing is
allocated. Memory is that of weights, gradients and Adam under ZeRO, the activations of the longest row, and
the generator where no store replaces it. Hours are operations at a rate that the caller names or
assumes. The rate is not measured here, so it is part of the result.

This module reads no data.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from vega3d.adapter import Vega3DAdapter
from vega3d.backbones.base import BackboneCost, clip_cost
from vega3d.config import Vega3DConfig
from vega3d.costs.host import empty_host, find_host
from vega3d.costs.memory import activation_memory, training_memory
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import recomputes
from vega3d.training.metrics import TrainFlops
from vega3d.training.recipes import apply_recipe
from vega3d.training.validation.rows import Lengths

PICTURE = (480, 640)  # height and width of a frame, where any will do


@dataclass(frozen=True)
class Model:
    """A wrapped model on the meta device, as its recipe trains it.

    Attributes:
        adapter: without weights.
        trained: number of trained parameters.
        frozen: number of frozen ones of the host.
        runs_backbone: True if the generator runs in training and its config describes its cost.
    """

    adapter: Vega3DAdapter
    trained: int
    frozen: int
    runs_backbone: bool

    def clip_cost(self, frames: int, height: int, width: int) -> BackboneCost:
        """Cost of the generator on one clip."""
        return clip_cost(self.adapter.vega3d_config.backbone, (height, width), frames)


def model_of(config: TrainConfig, settings: Vega3DConfig) -> Model:
    """The model that a config names.

    Args:
        config: of the run.
        settings: of the wrapped model.

    Raises:
        HostError, BackboneError, ConfigError, DependencyError: a part is not there, or does not fit.
    """
    host = empty_host(find_host(str(settings.host.path)))
    runs_backbone = hasattr(settings.backbone, "cost") and not config.store.only
    if runs_backbone:
        channels = clip_cost(settings.backbone, PICTURE, 1).channels
        settings = dataclasses.replace(
            settings, backbone=dataclasses.replace(settings.backbone, channels=channels)
        )
    adapter = Vega3DAdapter(host, settings)
    model = apply_recipe(adapter, config.recipe, config.lora)
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained)
    return Model(adapter, trained, sum(count for count, _ in counts) - trained, runs_backbone)


@dataclass(frozen=True)
class Plan:
    """Cost of a run.

    Attributes:
        rows: of an epoch.
        batch: rows of a step, over all GPUs.
        steps: of the optimizer.
        trained: number of trained parameters.
        frozen: number of frozen ones of the host.
        memory: bytes on each GPU by part; empty if it could not be estimated.
        checkpoint: bytes of one checkpoint.
        flops: operations of the whole run, those that checkpointing repeats included.
        tflops: the rate on each GPU that hours are counted with.
        hours: at that rate.
        row_seconds: seconds that a worker took for a row; None if none was checked.
    """

    rows: int
    batch: int
    steps: int
    trained: int
    frozen: int
    memory: dict[str, int] = field(default_factory=dict)
    checkpoint: int = 0
    flops: float = 0.0
    tflops: float = 0.0
    hours: float = 0.0
    row_seconds: float | None = None

    @property
    def peak(self) -> int:
        """Bytes on each GPU, all parts together."""
        return sum(self.memory.values())


def plan_of(
    arguments: Any, model: Model, rows: int, seen: Lengths, *, stage: int, gpus: int, tflops: float
) -> Plan:
    """Estimate the cost of a run.

    Args:
        arguments: ``TrainingArguments``.
        model: of ``model_of``.
        rows: of an epoch.
        seen: sizes of the rows.
        stage: of ZeRO.
        gpus: that share the work.
        tflops: rate on each of them.
    """
    each = arguments.per_device_train_batch_size
    batch = each * arguments.gradient_accumulation_steps * gpus
    epoch = math.ceil(rows / batch)
    steps = arguments.max_steps if arguments.max_steps > 0 else math.ceil(epoch * arguments.num_train_epochs)
    flops = _row_flops(model, seen, repeat=recomputes(arguments)) * batch * steps
    longest = max(seen.lengths, default=0)
    memory = {
        "weights, gradients, Adam": training_memory(model.trained, model.frozen, stage, gpus),
        "activations": activation_memory(model.adapter.host, each * longest, recompute=recomputes(arguments)),
    }
    if model.runs_backbone and any(seen.seen):
        memory["generator"] = model.clip_cost(*seen.seen).peak
    return Plan(
        rows=rows,
        batch=batch,
        steps=steps,
        trained=model.trained,
        frozen=model.frozen,
        memory=memory,
        checkpoint=12 * model.trained,  # float32 weights and Adam's two moments
        flops=flops,
        tflops=tflops,
        hours=flops / (tflops * 1e12 * gpus) / 3600,
        row_seconds=seen.seconds / seen.checked if seen.checked else None,
    )


def _row_flops(model: Model, seen: Lengths, *, repeat: bool) -> float:
    """Of a mean row, forward and backward, with the generator if it is run."""
    count = max(len(seen.lengths), 1)
    tokens, patches = sum(seen.lengths) / count, seen.patches / count
    host = TrainFlops(model.adapter)
    forward = 2 + repeat
    flops = 2.0 * (tokens * (forward * host.text + host.trained) + patches * host.vision)
    if model.runs_backbone and any(seen.seen) and seen.checked:
        clips = seen.lacking or seen.checked
        flops += model.clip_cost(*seen.seen).total * clips / seen.checked
    return flops
