"""Numbers as pictures: principal components of features, and heat maps over frames.

Everything is numpy and PIL. A picture is (H, W, 3) uint8. This module does not depend on models.

Colours are safe for readers who do not tell red from green. Heat maps vary in lightness. The first principal
component is lightness, the second goes from blue to yellow, and only the third from green to red.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
Values = NDArray[np.float32]

SIDE = 448  # pixels of the shorter side of a drawn frame
# Five anchors of a perceptually ordered ramp from dark blue to yellow; between them colours are mixed.
_RAMP = np.array([[24, 15, 61], [86, 41, 131], [183, 55, 121], [252, 136, 97], [252, 253, 191]], np.float32)
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)
_GAP, _TITLE = 6, 18

# Ends of lightness, blue to yellow and green to red in Oklab, and the way from there to linear sRGB.
_LOW, _HIGH = np.array([0.35, -0.18, -0.1]), np.array([0.92, 0.18, 0.1])
_TO_CONES = np.array(
    [[1, 1, 1], [0.2158037573, -0.0638541728, -1.291485548], [0.3963377774, -0.1055613458, -0.0894841775]]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -1.2684380046, -0.0041960863],
        [-3.3077115913, 2.6097574011, -0.7034186147],
        [0.2309699292, -0.3413193965, 1.707614701],
    ]
)


def principal_colours(maps: Values) -> list[Picture]:
    """The first three principal components of all cells of all frames: one palette for a clip.

    Args:
        maps: (T, C, h, w) features.

    Returns:
        T pictures of (h, w, 3). The sign of a component is fixed by its largest weight, so that the same
        features give the same colours in every run.
    """
    steps, channels, height, width = maps.shape
    cells = np.moveaxis(maps, 1, -1).reshape(-1, channels).astype(np.float64)  # (T * h * w, C)
    cells -= cells.mean(axis=0)
    _, axes = np.linalg.eigh(cells.T @ cells)  # columns, the first component last
    axes = axes[:, ::-1][:, :3]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    scores = cells @ axes  # (T * h * w, 3)
    if scores.shape[1] < 3:
        scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
    low, high = np.percentile(scores, [1, 99], axis=0)
    is_flat = high - low < 1e-6 * np.abs(scores).max(initial=1e-6)
    shares = np.where(is_flat, 0.5, (scores - low) / np.where(is_flat, 1, high - low))
    return list(_opponent_colours(np.clip(shares, 0, 1)).reshape(steps, height, width, 3))


def _opponent_colours(shares: NDArray[np.float64]) -> Picture:
    """(n, 3) shares of 0..1 as (n, 3) colours: lightness, blue to yellow, green to red.

    Source: B. Ottosson, "A perceptual color space for image processing" (2020).
    """
    cones = (_LOW + shares * (_HIGH - _LOW)) @ _TO_CONES
    linear = np.clip(cones**3 @ _TO_RGB, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray((255 * curved).round(), dtype=np.uint8)


def heat(values: Values, low: float, high: float) -> Picture:
    """(h, w) values as colours, dark at ``low`` and bright at ``high``."""
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(_RAMP) - 1)
    base = np.minimum(place.astype(int), len(_RAMP) - 2)
    share = (place - base)[..., None]
    return np.asarray(((1 - share) * _RAMP[base] + share * _RAMP[base + 1]).round(), dtype=np.uint8)


def enlarged(picture: Picture, side: int = SIDE) -> Picture:
    """The picture with a shorter side of ``side`` pixels."""
    height, width = picture.shape[:2]
    scale = side / min(height, width)
    return _resized(picture, round(height * scale), round(width * scale), Image.Resampling.LANCZOS)


def grey(picture: Picture) -> Picture:
    """The picture without its colours, so that those of a layer are not mixed with them."""
    return np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))


def over(
    picture: Picture,
    layer: Picture,
    opacity: float = 0.6,
    *,
    smooth: bool = False,
    extent: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Picture:
    """A coarse layer laid over a picture.

    Args:
        picture: (H, W, 3).
        layer: (h, w, 3).
        opacity: of the layer, 0..1.
        smooth: mix the colours between the centres of cells; otherwise the grid of cells stays visible.
        extent: top, left, bottom and right of the part that the layer covers, as fractions of the picture.
    """
    height, width = picture.shape[:2]
    top, left, bottom, right = (round(e * n) for e, n in zip(extent, (height, width) * 2, strict=True))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    large = _resized(layer, max(1, bottom - top), max(1, right - left), method)
    mixed = picture.astype(np.float32)
    part = mixed[top:bottom, left:right]
    part[:] = (1 - opacity) * part + opacity * large
    return np.asarray(mixed.round(), dtype=np.uint8)


def sheet(rows: Sequence[tuple[str, Sequence[Picture]]], width: int = 160) -> Picture:
    """Titled rows of pictures on one page; every picture is scaled to ``width`` pixels.

    Args:
        rows: (title, pictures) for each row; rows may differ in length.
        width: width of one picture on the page, in pixels.
    """
    tiles = [(title, [_scaled(picture, width) for picture in pictures]) for title, pictures in rows]
    heights = [_TITLE + max(tile.height for tile in row) + _GAP for _, row in tiles]
    across = max(len(row) for _, row in tiles) * (width + _GAP) + _GAP
    page = Image.new("RGB", (across, sum(heights) + _GAP), _BACKGROUND)
    pen, top = ImageDraw.Draw(page), _GAP
    for (title, row), height in zip(tiles, heights, strict=True):
        pen.text((_GAP, top), title, fill=_INK)
        for place, tile in enumerate(row):
            page.paste(tile, (_GAP + place * (width + _GAP), top + _TITLE))
        top += height
    return np.asarray(page)


def _scaled(picture: Picture, width: int) -> Image.Image:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return Image.fromarray(picture).resize((width, height), Image.Resampling.NEAREST)


def _resized(picture: Picture, height: int, width: int, method: Image.Resampling) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), method))
