"""A backbone without a network: mean colours of the cells of a grid, with settings of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from vega3d.backbones import BackboneCost, BackboneSpec
from vega3d.backbones.base import as_plan
from vega3d.grid import FeatureMap, resize_area
from vega3d.media.frame_plan import FramePlan


@dataclass(frozen=True)
class ColourConfig:
    """Its settings."""

    path: str | None = None
    channels: int | None = None
    cells: int = 4

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: str = "cuda") -> BackboneCost:
        """One addition a number of each frame."""
        plan = as_plan(self, frames)
        count, pixels = len(plan.generative), 3 * size[0] * size[1]
        return BackboneCost(
            channels=3,
            picture=size,
            steps=count,
            cells=(self.cells, self.cells),
            flops={"means": float(count * pixels)},
            moments={"means": 4 * count * pixels},
            encoded=count,
        )


class Colours:
    """Mean colour of each of ``cells`` x ``cells`` parts of a frame."""

    config_class: ClassVar[type] = ColourConfig

    def __init__(self, config: ColourConfig) -> None:
        self.config = replace(config, channels=3)

    @classmethod
    def from_pretrained(cls, path: str | Path, *, config: ColourConfig, **kwargs: Any) -> Colours:
        """There is nothing to load."""
        return cls(replace(config, path=str(path)))

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        return BackboneSpec("colours", 3, self.config)

    def fingerprint(self) -> str:
        """The settings say it all."""
        return f"colours {self.config.cells}"

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """One map a clip, one step a frame."""
        clips = [frames] if isinstance(frames, Tensor) else list(frames)
        maps = [resize_area(clip.float() / 255, self.config.cells, self.config.cells) for clip in clips]
        return [FeatureMap(one.transpose(0, 1), tuple((at,) for at in range(len(one)))) for one in maps]
