"""Cost of a run: trained parameters, memory on each GPU, steps, hours.

Parameters are counted on the real classes on the meta device, by the very recipe that trains them; nothing is
allocated. Memory is that of weights, gradients and Adam under ZeRO, the activations of the longest row, and
the generator where no store replaces it. Hours are operations at a rate that the caller names or
assumes. The rate is not measured here, so it is part of the result.

This module reads no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from vega3d import pipeline
from vega3d.adapter import Vega3DAdapter
from vega3d.backbones.base import clip_cost
from vega3d.costs.memory import activation_memory, training_memory
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import recomputes
from vega3d.training.metrics import TrainFlops
from vega3d.training.recipes import apply_recipe
from vega3d.training.trained import adapter_of
from vega3d.training.validation.rows import Lengths

GIB = 2**30


@dataclass(frozen=True)
class Options:
    """Options of a validation.

    Attributes:
        gpus: of the run.
        gpu_memory: bytes of each; None compares nothing.
        tflops: assumed rate of each.
        rows: whose media are opened, drawn by seed; None is all.
        workers: processes that open media.
        weights: load the generator, and compare it with the store by its weights.
    """

    gpus: int = 1
    gpu_memory: int | None = None
    tflops: float = 200.0
    rows: int | None = None
    workers: int = 0
    weights: bool = False


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
    memory: dict[str, int]
    checkpoint: int
    flops: float
    tflops: float
    hours: float
    row_seconds: float | None

    @property
    def peak(self) -> int:
        """Bytes on each GPU, all parts together."""
        return sum(self.memory.values())


def model_of(config: TrainConfig, source: pipeline.Source) -> nn.Module:
    """The model that a recipe trains, on the meta device."""
    source, options = pipeline.without_weights(source)
    return apply_recipe(pipeline.assemble(source, Vega3DAdapter, **options), config.recipe, config.lora)


def plan_of(
    config: TrainConfig,
    arguments: Any,
    model: nn.Module,
    rows: int,
    seen: Lengths,
    stage: int,
    options: Options,
) -> Plan:
    """Estimate the cost of a run.

    Args:
        config: of the run.
        arguments: ``TrainingArguments``.
        model: of ``model_of``.
        rows: of an epoch.
        seen: sizes of the rows.
        stage: of ZeRO.
        options: of the validation.
    """
    gpus, tflops = options.gpus, options.tflops
    adapter, each = adapter_of(model), arguments.per_device_train_batch_size
    batch = each * arguments.gradient_accumulation_steps * gpus
    epoch = math.ceil(rows / batch)
    steps = arguments.max_steps if arguments.max_steps > 0 else math.ceil(epoch * arguments.num_train_epochs)
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(count for count, is_trained in counts if is_trained)
    frozen = sum(count for count, _ in counts) - trained
    repeat = recomputes(arguments)
    longest = max(seen.lengths, default=0)
    memory = {
        "weights, gradients, Adam": training_memory(trained, frozen, stage, gpus),
        "activations": activation_memory(adapter.host, each * longest, recompute=repeat),
    }
    row_flops, backbone = _host_flops(adapter, seen, repeat=repeat), adapter.vega3d_config.backbone
    if hasattr(backbone, "cost") and not config.store.only and any(seen.seen):
        frames, height, width = seen.seen
        clip = clip_cost(backbone, (height, width), frames)
        memory["generator"] = clip.peak
        row_flops += clip.total * (seen.lacking or seen.checked) / seen.checked
    flops = row_flops * batch * steps
    return Plan(
        rows=rows,
        batch=batch,
        steps=steps,
        trained=trained,
        frozen=frozen,
        memory=memory,
        checkpoint=12 * trained,  # float32 weights and Adam's two moments
        flops=flops,
        tflops=tflops,
        hours=flops / (tflops * 1e12 * gpus) / 3600,
        row_seconds=seen.seconds / seen.checked if seen.checked else None,
    )


def _host_flops(adapter: Vega3DAdapter, seen: Lengths, *, repeat: bool) -> float:
    """Of a mean row, forward and backward."""
    count = max(len(seen.lengths), 1)
    tokens, patches = sum(seen.lengths) / count, seen.patches / count
    host = TrainFlops(adapter)
    return 2.0 * (tokens * ((2 + repeat) * host.text + host.trained) + patches * host.vision)
