"""Resize decoded frames to the tower's picture.

``fit`` (the default) resizes the whole picture with antialias and keeps its aspect, so every host can use the
features, whatever it crops. ``center_crop`` repeats the released code: cover, crop the centre, no antialias.
It cuts off up to 44 % of the height.
"""

from __future__ import annotations

import math
from itertools import product

from torch import Tensor
from torch.nn import functional as F

from vega3d.backbones.frames import unit
from vega3d.backbones.wan.config import PATCH, WanConfig
from vega3d.errors import InputError

LONGEST = 1024  # tokens on one side that Wan's rotary positions reach
MAX_COVER = 1 << 26  # pixels of the picture that ``center_crop`` resizes to before it crops


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
    fitting = [
        grid
        for grid in product(_neighbours(rows, config.max_tokens), _neighbours(columns, config.max_tokens))
        if grid[0] * grid[1] <= config.max_tokens
    ]
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
        raise InputError(
            f"Invalid frame of {picture.shape[3]} x {picture.shape[2]} pixels: too elongated for "
            "resize='center_crop'.",
            got=f"{picture.shape[3]} x {picture.shape[2]} pixels, covering at {cover[1]} x {cover[0]}",
            expected=f"at most {MAX_COVER} pixels when it covers {width} x {height}",
            fix="use WanConfig(resize='fit'), which never crops",
        )
    resized = F.interpolate(picture, size=cover, mode="bilinear", align_corners=False)
    top, left = (cover[0] - height) // 2, (cover[1] - width) // 2
    return resized[:, :, top : top + height, left : left + width]
