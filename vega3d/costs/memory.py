"""Memory of a training run: weights, gradients and optimizer, and activations of the host.

``peak_bytes`` measures that of a real run, for comparison.

The arithmetic of mixed precision with Adam (ZeRO, arXiv 1910.02054, section 3): 16 bytes for each trained
parameter, 2 for each frozen one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from torch.profiler import ProfilerActivity, profile

LAYER, LOGIT = 34, 12  # bytes of activations: a channel of a layer, a logit with its copy and gradients


def training_memory(trained: int, frozen: int, stage: int, processes: int) -> int:
    """Bytes on each GPU for weights, gradients and Adam's state, under DeepSpeed's ZeRO.

    Args:
        trained: number of trained parameters.
        frozen: number of frozen parameters, in bfloat16.
        stage: 0 splits nothing, 1 the optimizer, 2 gradients too, 3 weights too.
        processes: number of GPUs.
    """
    weights, gradients, optimizer = 2 * trained, 2 * trained, 12 * trained
    split = [optimizer * (stage >= 1), gradients * (stage >= 2), (weights + 2 * frozen) * (stage >= 3)]
    whole = weights + gradients + optimizer + 2 * frozen
    return whole - sum(split) + -(-sum(split) // processes)


def activation_memory(host: Any, tokens: int, *, recompute: bool) -> int:
    """Bytes of the language model's activations for one backward pass, in bfloat16.

    Each layer takes 34 bytes a token and channel (Korthikanti et al., arXiv 2205.05198, equation 2, without
    its term for attention scores, which fused attention does not keep). With checkpointing it is the input of
    each layer, and all of one layer. The logits are added: in bfloat16, in float32 for the loss, and their
    gradients. This is a rough figure without libraries' scratch space and fragmentation.

    Args:
        host: on any device.
        tokens: number of tokens of a micro-batch, padding included.
        recompute: True with gradient checkpointing.
    """
    text = host.config.get_text_config()
    layers, wide = text.num_hidden_layers, text.hidden_size
    channel_bytes = layers * 2 + LAYER if recompute else layers * LAYER
    return int(tokens * (channel_bytes * wide + LOGIT * text.vocab_size))


def peak_bytes(run: Callable[[], Any]) -> int:
    """Measure the peak of ``run`` on the CPU by torch's profiler, in bytes above those at the start.

    It counts the allocations of torch's own allocator, temporary tensors of kernels included, and not those
    that a library makes itself.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    events = [event for event in record.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    live = accumulate((event.nbytes() for event in events), initial=0)
    return int(max(live))
