"""Interfaces of a frozen encoder and of its settings. Imports no torch.

A backbone is not an ``nn.Module``, because it must stay out of ``state_dict``, optimizers, DDP, ZeRO and
PEFT. The released code registered it, so it was saved with every checkpoint and re-initialised on load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from vega3d.backbones.cost import BackboneCost, Device
    from vega3d.grid import FeatureMap
    from vega3d.media.frame_plan import FramePlan


@dataclass(frozen=True)
class BackboneSpec:
    """Identity of a loaded backbone.

    Attributes:
        name: the registered name.
        channels: C, width of its feature maps.
        config: the settings in force, with all open values filled in.
    """

    name: str
    channels: int
    config: Any


class BackboneConfig(Protocol):
    """Settings of a backbone: a frozen dataclass of plain JSON types.

    ``path`` and ``channels`` are required. The methods are optional: without ``frame_plan`` each frame is
    encoded alone, without ``cost`` an estimate is a ``ConfigError``.
    """

    path: str | None
    """Folder or hub id of the weights; None if the caller loads them."""

    channels: int | None
    """C, width of the feature maps; None until the weights are loaded."""

    @property
    def needs_host_grid(self) -> bool:
        """True if features depend on the host's token grid; this version refuses such a backbone."""
        ...

    def frame_plan(self, host_frames: Sequence[int]) -> FramePlan:
        """Plan the frames to encode, from the source frame numbers that the host gets."""
        ...

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda") -> BackboneCost:
        """Cost of a clip of decoded frames of ``size`` (height, width), without loading weights.

        ``frames`` is the number of frames that the host gets of a video, or the clip's plan.
        """
        ...


class Backbone(Protocol):
    """A frozen encoder of clips."""

    config_class: ClassVar[type]

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        ...

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        ...

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips, each (T, 3, H, W), uint8 or float in [0, 1], to one map for each clip, in order."""
        ...
