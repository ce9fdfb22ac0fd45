"""What the fusion does while it is trained: numbers beside the loss.

A loss alone does not say whether the generator is heard. So for each step: the gate's mean and spread, how
much the fusion changes a token, and how large the two streams are. The numbers are sums over tokens that stay
on the device; they are read only when something is logged.

A hook on *our* fusion sees exactly what is fused; the host is never hooked. This module knows no trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vega3d.fusion import Fused, Fusion

NAMES = ("fusion/gate", "fusion/gate_spread", "fusion/contribution", "fusion/rms_generative_semantic")


class FusionWatch:
    """Sums over all fused tokens since the last reading.

    Args:
        model: any module around an adapter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.sums: Tensor | None = None
        for module in model.modules():
            if isinstance(module, Fusion):
                module.register_forward_hook(self._look)

    def _look(self, module: nn.Module, inputs: tuple[Any, ...], fused: Fused) -> None:
        if module.training and torch.is_grad_enabled():
            with torch.no_grad():
                sums = fused_sums(inputs[0], inputs[1], fused)
                self.sums = sums if self.sums is None else self.sums + sums

    def read(self, device: torch.device, reduce: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The numbers since the last reading; empty if nothing was fused anywhere.

        Args:
            device: where the sums of a process that fused nothing are made.
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
        fused: what became of them.
    """
    size = semantic.norm(dim=-1)  # (n,)
    counts = (size > 0).to(torch.float64)
    change = (fused.tokens - semantic).norm(dim=-1) / size.clamp_min(1e-12)
    gate = fused.gate.to(torch.float64)
    columns = [torch.ones_like(counts), gate, gate**2, change, generative.norm(dim=-1) ** 2, size**2]
    return torch.stack([(column.to(torch.float64) * counts).sum() for column in columns])
