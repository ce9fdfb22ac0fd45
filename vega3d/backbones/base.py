"""The contract of a frozen encoder and of its settings. Imports no torch.

A backbone is not an ``nn.Module``: it must stay out of ``state_dict``, optimizers, DDP, ZeRO and PEFT
(the released code registered it, saved it with every checkpoint and had it re-initialised on load).
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
        config: the settings in force, with everything filled in that was left open.
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
    """Weights; None where the caller loads them."""

    channels: int | None
    """C, width of the feature maps; None until the weights are loaded."""

    @property
    def needs_host_grid(self) -> bool:
        """Whether features depend on the host's token grid; this version runs none that do."""
        ...

    def frame_plan(self, host_frames: Sequence[int]) -> FramePlan:
        """Frames to encode, from the source frame numbers that the host gets."""
        ...

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda") -> BackboneCost:
        """Cost of a clip of decoded frames of ``size`` (height, width), without loading weights.

        ``frames`` counts those of a video that the host gets one by one, or is the clip's plan.
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
        """Encode clips, each (T, 3, H, W): uint8, or float in [0, 1]; one map a clip, in order."""
        ...
