"""The trainable MLP from a frozen encoder's channels to the host's width."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

Norm = Literal["layer", "rms", "none"]


class Projector(nn.Module):
    """Norm -> concatenate the patches of a token -> Linear -> GELU -> Linear.

    Args:
        channels: C of the feature map.
        width: D of the host.
        hidden: width of the hidden layer.
        norm: normalisation of each patch. A residual stream has no fixed scale, so the default
            method normalises; the published 3-D projector does not.
        cells: patches on one side of a token; their cells * cells vectors are concatenated.
        zero: start the last layer at zero, so that the output is exactly zero until trained.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        hidden: int,
        *,
        norm: Norm = "none",
        cells: int = 1,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.norm = _norm(norm, channels)
        self.up = nn.Linear(channels * cells * cells, hidden)
        self.act = nn.GELU()
        self.down = nn.Linear(hidden, width)
        if zero:
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(n, cells * cells, C) -> (n, D), in the dtype of the parameters."""
        normed = self.norm(features.to(self.up.weight.dtype))
        output: Tensor = self.down(self.act(self.up(normed.flatten(1))))  # (n, cells * cells * C) -> (n, D)
        return output


def _norm(name: Norm, channels: int) -> nn.Module:
    if name == "none":
        return nn.Identity()
    return nn.LayerNorm(channels) if name == "layer" else nn.RMSNorm(channels, eps=1e-6)
