"""The default fusion: a gated residual that is the identity until it is trained.

S + sum of w_k G_k, for the generator alone S + (1 - g) G, with each projector's last layer at zero. So the
wrapped model *is* the host at step 0, and gradients still flow from the first step. A learned scale that
starts at zero would block them: projector and gate would get exactly zero gradient, and at small learning
rates the scale hardly moves.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vega3d.fusion.base import Fused, Fusion, FusionContext, Projector, total, weighted


class GatedResidual(Fusion):
    """S + sum of w_k G_k, with the weights of eq. 7 of arXiv 2603.19235."""

    supports_streams: ClassVar[bool] = True

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """LayerNorm, then a two-layer MLP whose last layer starts at zero."""
        return Projector(channels, width, hidden or width, norm="layer", zero=True)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Add every stream, weighted by one number for each token."""
        weights = self.gate_weights(self.norm_semantic(semantic), self.normalise(generative, context))
        terms = weighted(weights, (generative, *context.streams))  # K of (n, D)
        return Fused(semantic + total(terms), weights[:, 0], weights, terms)
