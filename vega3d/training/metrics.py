"""Numbers beside the loss: the effect of the fusion, the speed of the run, and its operations.

A loss alone does not show whether the generator is used. So ``FusionMetrics`` gives the gate's mean and
spread, how much the fusion changes a token, and how large the two streams are; ``Swap`` gives the loss with
the features of other media. Their hooks on *our* fusion receive exactly the fused tokens; the host is never
hooked. ``SpeedMetrics`` gives tokens and samples a
second over all processes, the share of time without data, and the largest memory.

Operations are those that the model needs: neither those that checkpointing repeats nor the generator's count,
so that two ways to the same weights compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn

from vega3d.adapter import Vega3DAdapter
from vega3d.fusion import Fused, Fusion, FusionContext

Clock = Callable[[], float]
GIB = 2**30
NAMES = ("fusion/gate", "fusion/gate_spread", "fusion/contribution", "fusion/rms_generative_semantic")


class FusionMetrics:
    """Sums over all fused tokens since the last reading.

    Args:
        model: any module around an adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.sums: Tensor | None = None
        for module in model.modules():
            if isinstance(module, Fusion):
                module.register_forward_hook(self._add)

    def _add(self, module: nn.Module, inputs: tuple[Any, ...], fused: Fused) -> None:
        if module.training and torch.is_grad_enabled():
            with torch.no_grad():
                sums = fused_sums(inputs[0], inputs[1], fused)
                self.sums = sums if self.sums is None else self.sums + sums

    def read(self, device: torch.device, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The numbers since the last reading; empty if nothing was fused anywhere.

        Args:
            device: of the sums, in a process that fused nothing.
            reduce: adds up a tensor over all processes; every process has to call.
        """
        own = self.sums if self.sums is not None else torch.zeros(6, dtype=torch.float64, device=device)
        self.sums = None
        count, gate, square, change, generative, semantic = reduce(own).tolist()
        if not count:
            return {}
        mean = gate / count
        spread = max(square / count - mean**2, 0.0) ** 0.5
        values = (mean, spread, change / count, (generative / semantic) ** 0.5)
        return dict(zip(NAMES, values, strict=True))


def fused_sums(semantic: Tensor, generative: Tensor, fused: Fused) -> Tensor:
    """(6,): tokens, gate, gate squared, ||fused - S|| / ||S||, ||G||^2, ||S||^2; each summed over tokens.

    Args:
        semantic: (n, D); an all-zero token, as the zero term of a batch without media has, does not count.
        generative: (n, D).
        fused: the result of the fusion.
    """
    size = semantic.norm(dim=-1)  # (n,)
    counts = (size > 0).to(torch.float64)
    change = (fused.tokens - semantic).norm(dim=-1) / size.clamp_min(1e-12)
    gate = fused.gate.to(torch.float64)
    columns = [torch.ones_like(counts), gate, gate**2, change, generative.norm(dim=-1) ** 2, size**2]
    return torch.stack([(column.to(torch.float64) * counts).sum() for column in columns])


class SpeedMetrics:
    """Speed since the last reading.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.clock, self.start = clock, clock()
        self.tokens, self.samples, self.flops, self.waited = 0, 0, 0.0, 0.0

    def add(self, batch: Mapping[str, Any], flops: float) -> None:
        """Count a batch that is trained on, without its padding."""
        ids, mask = batch.get("input_ids"), batch.get("attention_mask")
        if isinstance(ids, Tensor):
            self.tokens += int(mask.sum()) if isinstance(mask, Tensor) else ids.numel()
            self.samples += len(ids)
            self.flops += flops

    def wait(self, seconds: float) -> None:
        """Count time in which there was no batch."""
        self.waited += seconds

    def read(self, device: torch.device, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The numbers since the last reading.

        Args:
            device: of the gathered numbers of all processes.
            gather: (4,) of each process to (processes, 4); every process has to call.
        """
        seconds = max(self.clock() - self.start, 1e-9)
        own = [self.tokens / seconds, self.samples / seconds, self.flops / seconds, self.waited / seconds]
        every = gather(torch.tensor([[*own, peak_memory(device)]], dtype=torch.float64, device=device))
        self.start = self.clock()
        self.tokens, self.samples, self.flops, self.waited = 0, 0, 0.0, 0.0
        tokens, samples, flops, waited, _ = every.sum(dim=0).tolist()
        return {
            "speed/tokens_per_second": tokens,
            "speed/samples_per_second": samples,
            "speed/tflops": flops / 1e12,
            "speed/waiting_for_data": min(waited / len(every), 1.0),
            "speed/peak_memory_gib": float(every[:, 4].max()) / GIB,
        }


def peak_memory(device: torch.device) -> float:
    """Bytes: the most that was allocated on a GPU, or the most that the process held."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return float(psutil.Process().memory_info().peak_wset)
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


class TrainFlops:
    """Operations of the host for a step, from the sizes of its weights: two for each multiply-add.

    Forward through language model and vision tower; backward through the language model for activations, and
    once more for the weights that are trained. Attention between tokens, some percent at these lengths, is
    left out, as transformers' own count leaves it out. LoRA's and our own weights are too few to matter.

    Args:
        adapter: whose host is counted, after the recipe has frozen what it freezes.
    """

    def __init__(self, adapter: Vega3DAdapter) -> None:
        language_model = adapter.family.language_model(adapter.host)
        self.text = _multiplied(language_model) + _multiplied(adapter.get_output_embeddings())
        self.trained = _multiplied(language_model, trained=True)
        self.vision = _multiplied(adapter.family.vision_tower(adapter.host))

    def __call__(self, batch: Mapping[str, Any]) -> float:
        """Of one batch, forward and backward."""
        mask = batch.get("attention_mask")
        tokens = int(mask.sum()) if isinstance(mask, Tensor) else 0
        return 2.0 * (tokens * (2 * self.text + self.trained) + patches_of(batch) * self.vision)


def patches_of(batch: Mapping[str, Any]) -> int:
    """Patches of the host's vision tower in a batch."""
    pixels = (batch.get("pixel_values"), batch.get("pixel_values_videos"))
    return sum(len(values) for values in pixels if isinstance(values, Tensor))


def _multiplied(module: Any, *, trained: bool = False) -> int:
    """Weights of linear layers, also where ZeRO-3 has left a shell; LoRA's own are left out."""
    count = 0
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear) and "lora_" not in name and (part.weight.requires_grad or not trained):
            shape = getattr(part.weight, "ds_shape", part.weight.shape)
            count += int(torch.Size(shape).numel())
    return count


# ---------------------------------------------------------------- features of other media


class Swap:
    """Exchanges features while it is on; otherwise only remembers the last ones.

    A model that has learnt to leave the generator out answers just as well when each picture meets the
    features of another one. So an evaluation is run twice, the second time with projected features exchanged
    between the media of a batch, or, where a batch has but one, taken from the batch before. If they matter,
    the loss rises.

    Args:
        model: any module around an adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.is_on, self.swapped = False, 0
        self.kept: Tensor | None = None
        for module in model.modules():
            if isinstance(module, Fusion):
                module.register_forward_pre_hook(self._look)

    def _look(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if module.training:
            return None
        semantic, generative, context = given
        others, self.kept = self.kept, generative.detach()
        if not self.is_on:
            return None
        found = exchanged(generative, context, others)
        self.swapped += found is not None
        return None if found is None else (semantic, found, context)

    @contextmanager
    def on(self) -> Iterator[Swap]:
        """Inside, media meet the features of others; ``swapped`` counts the batches in which they do."""
        self.is_on, self.swapped = True, 0
        try:
            yield self
        finally:
            self.is_on = False


def exchanged(generative: Tensor, context: FusionContext, others: Tensor | None) -> Tensor | None:
    """(n, D): for each medium the features of the next one, or of ``others``; None if it is alone.

    Args:
        generative: (n, D), projected, all media of the batch after one another.
        context: how many tokens each has.
        others: (m, D) of an earlier batch.
    """
    parts: Sequence[Tensor] = torch.split(generative, list(context.lengths))
    if len(parts) > 1:
        parts = [*parts[1:], parts[0]]
    elif others is not None:
        parts = [others.to(generative)]
    else:
        return None
    fitted = [_as_long(part, length) for part, length in zip(parts, context.lengths, strict=True)]
    return torch.cat(fitted)


def _as_long(tokens: Tensor, length: int) -> Tensor:
    return tokens[torch.arange(length, device=tokens.device) % len(tokens)]
