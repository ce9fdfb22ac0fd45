"""Frozen encoders: plain objects beside the model, never part of it.

A backbone is not an ``nn.Module``: it must stay out of ``state_dict``, optimizers, DDP, ZeRO and PEFT
(the released code registered it, saved it with every checkpoint and had it re-initialised on load).
This module holds only the contract; each backbone lives in a folder of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from vega3d.grid import FeatureMap
from vega3d.video import FramePlan


@dataclass(frozen=True)
class BackboneSpec:
    """What a fusion has to know about a backbone.

    Attributes:
        name: the registered name.
        channels: C, width of its feature maps.
        config: the settings in force, with everything filled in that was left open.
    """

    name: str
    channels: int
    config: Any


class Backbone(Protocol):
    """What the adapter asks of a frozen encoder."""

    config_class: ClassVar[type]

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        ...

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        ...

    def flops(self, height: int, width: int, frames: int = 1) -> float:
        """Floating-point operations (2 per multiply-add) for a clip of ``frames`` decoded frames."""
        ...

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips, each (T, 3, H, W): uint8, or float in [0, 1]; one map a clip, in order."""
        ...
