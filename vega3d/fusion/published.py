"""The published forms of VEGA-3D's fusion, for comparison: none of them starts as the identity.

Three forms exist: the paper's equation 8, the released main branch (ScanRefer, ScanQA, ...), and the
released spatial-reasoning branch (VSI-Bench). They differ in the normalised streams, in the use of the
host's stream, and in the projector. Further streams join the mix in the same way, with weights that sum to 1
together with the host's. That part is an extension of this library, since none was published.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from vega3d.fusion.base import Fused, Fusion, FusionContext, Projector, total, weighted


class Paper(Fusion):
    """(1 - g) G + g S (arXiv 2603.19235, eq. 8); only the gate takes normalised streams."""

    supports_streams: ClassVar[bool] = True

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """Two-layer MLP of the host's width."""
        return Projector(channels, width, hidden or width)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Replace each token by a convex mix of all streams."""
        weights = self.gate_weights(self.norm_semantic(semantic), self.normalise(generative, context))
        terms = weighted(weights, (generative, *context.streams))  # K of (n, D)
        return Fused(total(terms) + weights[:, :1] * semantic, weights[:, 0], weights, terms)


class Released3D(Paper):
    """The main branch's ``token_gated``: eq. 8 on the *LayerNormed* streams."""

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Replace each token by a convex mix of all normalised streams."""
        normed, streams = self.norm_semantic(semantic), self.normalise(generative, context)
        weights = self.gate_weights(normed, streams)
        terms = weighted(weights, streams)  # K of (n, D)
        return Fused(total(terms) + weights[:, :1] * normed, weights[:, 0], weights, terms)


class ReleasedVSI(Fusion):
    """The spatial-reasoning branch's ``token_gated_residual``: S + s (mix - S), s learned from 0.2.

    Its projector takes the four patches of a token: RMSNorm, concatenation, MLP through 4,096.
    """

    cells: ClassVar[int] = 2
    supports_streams: ClassVar[bool] = True

    def __init__(self, width: int, streams: Sequence[nn.Module] = ()) -> None:
        super().__init__(width, streams)
        self.scale = nn.Parameter(torch.tensor(0.2))

    @classmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """RMSNorm of each patch, 2 x 2 patches concatenated, hidden width 4,096."""
        return Projector(channels, width, hidden or 4096, norm="rms", cells=cls.cells)

    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Move each token towards the mix of all streams by the learned scale."""
        weights = self.gate_weights(self.norm_semantic(semantic), self.normalise(generative, context))
        terms = weighted(weights, (generative, *context.streams))  # K of (n, D)
        mix = total(terms) + weights[:, :1] * semantic
        scaled = tuple(self.scale.detach() * term.detach() for term in terms)  # for the report alone
        return Fused(semantic + self.scale * (mix - semantic), weights[:, 0], weights, scaled)
