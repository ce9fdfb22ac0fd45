"""A fusion without a gate: it adds what a bias-free projector makes."""

from __future__ import annotations

import torch
from torch import Tensor

from vega3d.fusion import Fused, Fusion, FusionContext
from vega3d.fusion.base import Projector


class Add(Fusion):
    """S + G."""

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """A small one."""
        return Projector(channels, width, hidden or 8)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """The gate says that both are heard in full."""
        return Fused(semantic + generative, torch.zeros(len(semantic)))
