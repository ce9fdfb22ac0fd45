"""Chunks: frames that are encoded together as one video, and their pictures at the size of the tower.

A plan gives the chunks of a clip. The mode selects the latents that are kept of each chunk: the last one of a
micro-clip, that of the frame after a reference, or all.

``fit`` (the default) resizes the whole picture with antialias and keeps its aspect, so every host can use the
features, whatever it crops. ``center_crop`` repeats the released code: cover, crop the centre, no antialias.
It cuts off up to 44 % of the height.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor
from torch.nn import functional as F

from vega3d.backbones.frames import unit
from vega3d.backbones.wan.config import PATCH, Mode, WanConfig
from vega3d.errors import InputError
from vega3d.media.frame_plan import FramePlan

LONGEST = 1024  # tokens on one side that Wan's rotary positions reach
MAX_COVER = 1 << 26  # pixels of the picture that ``center_crop`` resizes to before it crops

# Positions that each kept latent frame describes.
Steps = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Chunk:
    """Frames of one clip that are encoded together.

    Attributes:
        clip: index of the clip in the call.
        positions: positions of the frames in the clip.
        frames: the decoded frames (t, 3, H, W).
    """

    clip: int
    positions: tuple[int, ...]
    frames: Tensor


def find_chunks(clips: Sequence[Tensor], plans: Sequence[FramePlan] | None, config: WanConfig) -> list[Chunk]:
    """Find the chunks of all clips, in order; without plans, those of the settings' own plan.

    Raises:
        InputError: a plan does not fit its clip, or was made for another mode.
    """
    plans = plans if plans is not None else [config.frame_plan(range(len(clip))) for clip in clips]
    if len(plans) != len(clips):
        raise _unfit(f"{len(plans)} plans for {len(clips)} clips", "one plan for each clip")
    chunks: list[Chunk] = []
    for index, (clip, plan) in enumerate(zip(clips, plans, strict=True)):
        if len(plan.generative) != len(clip):
            raise _unfit(f"{len(clip)} frames in clip {index}", f"the plan's {len(plan.generative)} frames")
        _require_mode(plan, config)
        chunks += [Chunk(index, run, clip[list(run)]) for run in plan.runs]
    return chunks


def steps(chunk: Chunk, mode: Mode) -> Steps:
    """Positions that each kept latent frame of a chunk describes, in order."""
    if mode == "joint":
        return tuple((position,) for position in chunk.positions)
    if mode != "clip":
        return (chunk.positions[-1:],)
    latents = 1 + -(-(len(chunk.positions) - 1) // 4)  # an incomplete last group of four is padded
    return tuple(
        chunk.positions[:1] if latent == 0 else chunk.positions[4 * latent - 3 : 4 * latent + 1]
        for latent in range(latents)
    )


def _require_mode(plan: FramePlan, config: WanConfig) -> None:
    lengths, latents, mode = {len(run) for run in plan.runs}, config.max_latent_frames, config.mode
    longest = {"joint": latents, "clip": 4 * latents - 3, "window": config.window, "vace_reference": 2}
    expected = longest.get(mode, 1)
    if max(lengths) > expected or (mode not in ("joint", "clip") and lengths != {expected}):
        raise _unfit(f"chunks of {sorted(lengths)} frames", f"chunks of mode {mode!r} ({expected})")


def _unfit(got: str, expected: str) -> InputError:
    fix = "plan with backbone.config.frame_plan(frames), or give processor and backbone the same config"
    return InputError(f"Invalid frames or plan: {got}.", got=got, expected=expected, fix=fix)


def tower_size(height: int, width: int, config: WanConfig) -> tuple[int, int]:
    """Height and width of the tower's picture, multiples of 16, for a frame of height x width pixels.

    ``fit``: the aspect of the frame, the area of ``config.pixels``, never more than
    ``config.max_tokens`` tokens, never fewer than one token a side. ``center_crop``: ``config.size``.
    """
    if config.resize == "center_crop":
        return config.size[1], config.size[0]
    rows, columns = _token_grid(height, width, config)
    return rows * PATCH, columns * PATCH


def _token_grid(height: int, width: int, config: WanConfig) -> tuple[int, int]:
    """Integer grid that is nearest to the ideal one, by ratios, among those within the limits."""
    budget = min(config.pixels / PATCH**2, config.max_tokens)
    rows, columns = math.sqrt(budget * height / width), math.sqrt(budget * width / height)  # ideal
    near = product(_neighbours(rows, config.max_tokens), _neighbours(columns, config.max_tokens))
    fitting = [grid for grid in near if grid[0] * grid[1] <= config.max_tokens]
    return min(fitting, key=lambda grid: math.hypot(math.log(grid[0] / rows), math.log(grid[1] / columns)))


def _neighbours(side: float, most: int) -> tuple[int, ...]:
    limit = min(LONGEST, most)
    return tuple(sorted({min(max(1, number), limit) for number in (math.floor(side), math.ceil(side))}))


def prepare(frame: Tensor, config: WanConfig) -> Tensor:
    """Resize a decoded, checked frame (3, H0, W0) to the tower's picture (3, H, W), float32 in [0, 1]."""
    height, width = frame.shape[-2:]
    size = tower_size(height, width, config)
    picture = unit(frame)[None]  # (1, 3, H0, W0)
    if config.resize == "center_crop":
        picture = (_cover_and_crop(picture * 2.0 - 1.0, *size) + 1.0) / 2.0
    elif (height, width) != size:
        picture = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    return picture[0].clamp(0.0, 1.0)


def _cover_and_crop(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize bilinearly without antialias to the smallest covering picture, then crop its centre."""
    scale = max(height / picture.shape[2], width / picture.shape[3])
    cover = (round(picture.shape[2] * scale), round(picture.shape[3] * scale))  # halves go to even
    if cover[0] * cover[1] > MAX_COVER:
        got = f"{picture.shape[3]} x {picture.shape[2]} pixels, covering at {cover[1]} x {cover[0]}"
        expected = f"at most {MAX_COVER} pixels when it covers {width} x {height}"
        fix = "use WanConfig(resize='fit'), which never crops"
        raise InputError("Invalid frame: too elongated.", got=got, expected=expected, fix=fix)
    resized = F.interpolate(picture, size=cover, mode="bilinear", align_corners=False)
    top, left = (cover[0] - height) // 2, (cover[1] - width) // 2
    return resized[:, :, top : top + height, left : left + width]
