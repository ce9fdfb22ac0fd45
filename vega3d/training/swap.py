"""Loss with features of other media: a test of whether the branch is used.

A model that has learnt to leave the generator out answers just as well when each picture meets the features
of another one. So an evaluation is run twice, the second time with projected features exchanged between the
media of a batch, or, where a batch has but one, taken from the batch before. If they matter, the loss rises.

A hook on *our* fusion exchanges them; the host is never hooked. This module does not depend on trainers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vega3d.fusion import Fusion, FusionContext


class Swap:
    """Exchanges features while it is on; otherwise only remembers the last ones.

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
