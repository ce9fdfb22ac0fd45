"""Interfaces of a frozen encoder, of its settings and of its cost. Imports no torch.

A backbone is not an ``nn.Module``, because it must stay out of ``state_dict``, optimizers, DDP, ZeRO and
PEFT. The released code registered it, so it was saved with every checkpoint and re-initialised on load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from vega3d.errors import ConfigError
from vega3d.media.frame_plan import FramePlan, frame_plan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from vega3d.grid import FeatureMap

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

    ``path`` and ``channels`` are required. The rest is optional: without ``frame_plan`` each frame is encoded
    alone, without ``cost`` an estimate is a ``ConfigError``.
    """

    path: str | None
    """Folder or hub id of the weights; None if the caller loads them."""

    channels: int | None
    """C, width of the feature maps; None until the weights are loaded."""

    needs_host_grid: ClassVar[bool] = False
    """True if features depend on the host's token grid; this version refuses such a backbone."""

    def frame_plan(self, host_frames: Sequence[int]) -> FramePlan:
        """Plan the frames to encode, from the source frame numbers that the host gets."""

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda") -> BackboneCost:
        """Cost of a clip of decoded frames of ``size`` (height, width), without loading weights.

        ``frames`` is the number of frames that the host gets of a video, or the clip's plan.
        """


class Backbone(Protocol):
    """A frozen encoder of clips."""

    config_class: ClassVar[type]

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips, each (T, 3, H, W), uint8 or float in [0, 1], to one map for each clip, in order."""


def micro_batch(config: Any, device: str) -> int:
    """Items in one forward: the config's own, else 1 on a CPU and 8 on a GPU."""
    return int(config.micro_batch or (1 if device == "cpu" else 8))


def as_plan(config: Any, frames: int | FramePlan) -> FramePlan:
    """Return a plan as it is; for a number, plan a video of so many frames that the host gets."""
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
        kind = type(config).__name__
        expected = "a config that describes its cost, see vega3d.backbones.BackboneConfig"
        fix = f"add {kind}.cost(size, frames, device), or leave the backbone out of the estimate"
        raise ConfigError(
            f"Unknown cost of a backbone with {kind}.", got="no method cost", expected=expected, fix=fix
        )
    cost: BackboneCost = config.cost(size, as_plan(config, frames), device)
    return cost
