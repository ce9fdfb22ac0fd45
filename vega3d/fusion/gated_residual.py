"""The default fusion: a gated residual that is the identity until it is trained.

S + (1 - g) G, with the projector's last layer at zero. So the wrapped model *is* the host at step 0, and
gradients still flow from the first step: a learned scale that starts at zero would block them (the
projector and the gate would get exactly zero gradient, and at small learning rates the scale hardly moves).
"""

from __future__ import annotations

from torch import Tensor

from vega3d.fusion import Fused, Fusion, FusionContext
from vega3d.fusion.projector import Projector


class GatedResidual(Fusion):
    """S + (1 - g) G, with g from eq. 7 of arXiv 2603.19235."""

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """LayerNorm, then a two-layer MLP whose last layer starts at zero."""
        return Projector(channels, width, hidden or width, norm="layer", zero=True)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Add the generative stream, weighted by one gate a token."""
        gate = self.token_gate(self.norm_generative(generative), self.norm_semantic(semantic))  # (n, 1)
        return Fused(semantic + (1 - gate) * generative, gate.squeeze(-1))
