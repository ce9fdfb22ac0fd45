"""Settings of a frozen SigLIP vision tower. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vega3d._utils import checks
from vega3d.backbones.base import BackboneCost, Device
from vega3d.config import DType
from vega3d.media.frame_plan import FramePlan


@dataclass(frozen=True)
class SiglipConfig:
    """Settings of a frozen SigLIP or SigLIP 2 vision tower as a second semantic stream.

    Attributes:
        path: folder or hub id, for example ``google/siglip-so400m-patch14-384``. Never copied.
        revision: hub revision of ``path``.
        channels: width C of the tower. None takes it from the loaded weights; it is needed only without them.
        layer: hidden state that is the feature: -1 is the last one with the final norm, -2 the one before
            the last block without it (LLaVA's choice), and so on.
        micro_batch: frames in one forward; None means 1 on CPU and 8 on GPU. The last one is padded.
        dtype: precision of the tower.
    """

    path: str | None = None
    revision: str | None = None
    channels: int | None = None
    layer: int = -1
    micro_batch: int | None = None
    dtype: DType = "float32"

    needs_host_grid: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.require_choices(self)
        title = f"Invalid layer {self.layer}: it does not count from the end."
        checks.require(self.layer <= -1, title, self.layer, "-1, -2, ...", "use -1")
        checks.require_at_least(self, 1, "micro_batch")

    def frame_plan(self, host_frames: Sequence[int]) -> FramePlan:
        """Plan to encode each frame that the host gets alone."""
        return FramePlan.per_frame(host_frames)

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda") -> BackboneCost:
        """Cost of one clip, from the configuration of the weights at ``path`` alone.

        Args:
            size: height and width of the decoded frames; without effect, since all are resized alike.
            frames: number of frames that the host gets of a video, or the plan of the clip.
            device: kind of device; it sets the default micro-batch.

        Raises:
            BackboneError: there is no SigLIP at ``path``.
        """
        from vega3d.backbones.siglip.cost import clip_cost

        return clip_cost(self, frames, device)
