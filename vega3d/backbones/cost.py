"""Cost of a frozen encoder on one clip, in terms that all encoders share. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vega3d.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from vega3d.media.frame_plan import FramePlan

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class Part:
    """Parameters of one part of a model.

    Attributes:
        name: label of the part in tables.
        parameters: number of parameters; shared ones count once.
        size: bytes in the precision that the part runs in.
    """

    name: str
    parameters: int
    size: int

    @classmethod
    def of(cls, name: str, *modules: nn.Module) -> Part:
        """Count the distinct parameters of modules."""
        tensors = {id(tensor): tensor for module in modules for tensor in module.parameters()}.values()
        return cls(name, sum(t.numel() for t in tensors), sum(t.numel() * t.element_size() for t in tensors))


@dataclass(frozen=True)
class BackboneCost:
    """Cost of one clip.

    Attributes:
        channels: C, width of the feature map.
        picture: height and width of the encoded picture, in pixels.
        steps: T, steps of the feature map.
        cells: rows and columns of the feature map.
        flops: floating-point operations of the clip by part, 2 for each multiply-add.
        once: operations that serve all clips, counted once.
        parts: parameters of the parts that are kept in memory.
        moments: bytes beside the weights in each moment that may have the peak.
        encoded: number of encoded frames, repeated ones included.
    """

    channels: int
    picture: tuple[int, int]
    steps: int
    cells: tuple[int, int]
    flops: Mapping[str, float]
    once: float = 0.0
    parts: Sequence[Part] = ()
    moments: Mapping[str, int] = field(default_factory=dict)
    encoded: int = 0

    @property
    def total(self) -> float:
        """All operations."""
        return sum(self.flops.values()) + self.once

    @property
    def weights(self) -> int:
        """Bytes of the weights."""
        return sum(part.size for part in self.parts)

    @property
    def peak(self) -> int:
        """Bytes at the peak, weights included."""
        return self.weights + max(self.moments.values(), default=0)


def as_plan(config: Any, frames: int | FramePlan) -> FramePlan:
    """Return a plan as it is; for a number, plan a video of so many frames that the host gets."""
    from vega3d.media.frame_plan import frame_plan

    return frame_plan(config, range(frames)) if isinstance(frames, int) else frames


def clip_cost(
    config: Any, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda"
) -> BackboneCost:
    """Cost of one clip under the settings of any backbone.

    Args:
        config: settings of any backbone.
        size: height and width of the decoded frames.
        frames: number of frames that the host gets of a video, or the plan of the clip.
        device: kind of device that the backbone runs on.

    Raises:
        ConfigError: the settings have no ``cost``.
    """
    if not hasattr(config, "cost"):
        raise ConfigError(
            f"Unknown cost of a backbone with {type(config).__name__}.",
            got=f"{type(config).__name__} without a method cost(size, frames, device)",
            expected="a config that describes its cost, see vega3d.backbones.BackboneConfig",
            fix="add the method, or leave the backbone out of the estimate",
        )
    cost: BackboneCost = config.cost(size, as_plan(config, frames), device)
    return cost
