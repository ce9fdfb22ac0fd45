"""Micro-batches of one fixed size, the last one padded.

A kernel may round differently for another number of rows. With one size for all forwards, a feature does not
depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _as_given(part: Tensor) -> Tensor:
    return part


def in_micro_batches(
    items: Any,
    size: int,
    encode: Callable[[Tensor], Tensor],
    prepare: Callable[[Any], Tensor] = _as_given,
) -> Tensor:
    """Encode items in parts of exactly ``size`` rows; the last part is padded with its last row.

    Args:
        items: a tensor (N, ...), or a sequence of N items that ``prepare`` stacks.
        size: rows of a part.
        encode: (size, ...) to (size, ...).
        prepare: items of one part to (n, ...); only one part of them is in memory at a time.

    Returns:
        (N, ...).
    """
    done = []
    for first in range(0, len(items), size):
        part = prepare(items[first : first + size])  # (n, ...)
        filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
        done.append(encode(filled.contiguous())[: len(part)])
    return torch.cat(done)
