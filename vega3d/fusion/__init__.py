"""How generative tokens are fused into a host's visual tokens: one class a method.

A fusion sees two streams of equal shape, S (the host's tokens) and G (projected generative tokens),
and returns tokens of that shape. It also names the projector that brings C channels to the host's
width D, because the published methods differ there too. It knows neither pictures nor hosts.

A gate alone says little: with G near zero any gate is harmless. So each method also reports its
contribution ||fused - S|| / ||S||.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from vega3d.fusion.projector import Projector


@dataclass(frozen=True)
class FusionContext:
    """What a fusion may look at beside the tokens.

    Attributes:
        lengths: number of tokens of each image or video, in the order of the tokens.
    """

    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Fused:
    """Result of a fusion.

    Attributes:
        tokens: (n, D) fused tokens.
        gate: (n,) in 0..1, the weight of the host's stream; 1 means that the generator is not heard.
    """

    tokens: Tensor
    gate: Tensor


class Fusion(nn.Module, ABC):
    """Base of all fusions: two LayerNorms and one linear layer give one gate a token (paper, eq. 7).

    Args:
        width: D, width of both streams.
    """

    cells: ClassVar[int] = 1
    """Patches on one side of a token that the projector wants to see separately."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_generative = nn.LayerNorm(width)
        self.norm_semantic = nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, 1)

    @classmethod
    @abstractmethod
    def projector(cls, channels: int, width: int, hidden: int | None) -> Projector:
        """The projector of this method, from C channels to the width D."""

    @abstractmethod
    def fuse(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Fuse (n, D) with (n, D); both in float32."""

    def forward(self, semantic: Tensor, generative: Tensor, context: FusionContext) -> Fused:
        """Same as ``fuse``; a module is called, so that wrappers such as PEFT's see it."""
        return self.fuse(semantic, generative, context)

    def token_gate(self, generative: Tensor, semantic: Tensor) -> Tensor:
        """g = sigmoid(W [G; S] + b) of two normalised (n, D) streams, as (n, 1)."""
        return torch.sigmoid(self.gate(torch.cat([generative, semantic], dim=-1)))
