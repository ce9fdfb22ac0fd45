"""The published forms of VEGA-3D's fusion, for comparison: none of them starts as the identity.

Three forms exist: the paper's equation 8, the released main branch (ScanRefer, ScanQA, ...), and the
released spatial-reasoning branch (VSI-Bench). They differ in what is normalised, in whether the
host's stream survives, and in the projector.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from vega3d.fusion import Fused, Fusion, FusionContext
from vega3d.fusion.projector import Projector


class Paper(Fusion):
    """(1 - g) G + g S (arXiv 2603.19235, eq. 8); only the gate sees normalised streams."""

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """Two-layer MLP of the host's width."""
        return Projector(channels, width, hidden or width)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Replace each token by a convex mix of both streams."""
        gate = self.token_gate(self.norm_generative(generative), self.norm_semantic(semantic))  # (n, 1)
        return Fused((1 - gate) * generative + gate * semantic, gate.squeeze(-1))


class Released3D(Paper):
    """The main branch's ``token_gated``: eq. 8 on the *LayerNormed* streams."""

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Replace each token by a convex mix of both normalised streams."""
        generative, semantic = self.norm_generative(generative), self.norm_semantic(semantic)
        gate = self.token_gate(generative, semantic)  # (n, 1)
        return Fused((1 - gate) * generative + gate * semantic, gate.squeeze(-1))


class ReleasedVSI(Fusion):
    """The spatial-reasoning branch's ``token_gated_residual``: S + s (mix - S), s learned from 0.2.

    Its projector sees the four patches of a token: RMSNorm, concatenation, MLP through 4,096.
    """

    cells: ClassVar[int] = 2

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.scale = nn.Parameter(torch.tensor(0.2))

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """RMSNorm of each patch, 2 x 2 patches concatenated, hidden width 4,096."""
        return Projector(channels, width, hidden or 4096, norm="rms", cells=cls.cells)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Move each token towards the mix of both streams by the learned scale."""
        gate = self.token_gate(self.norm_generative(generative), self.norm_semantic(semantic))  # (n, 1)
        mix = (1 - gate) * generative + gate * semantic
        return Fused(semantic + self.scale * (mix - semantic), gate.squeeze(-1))
