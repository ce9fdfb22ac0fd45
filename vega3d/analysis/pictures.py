"""Numbers as pictures: principal components of features, and heat maps over frames.

Everything is numpy and PIL. A picture is (H, W, 3) uint8. This module does not depend on models.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Picture = NDArray[np.uint8]
Values = NDArray[np.float32]

# Five anchors of a perceptually ordered ramp from dark blue to yellow; between them colours are mixed.
_RAMP = np.array([[24, 15, 61], [86, 41, 131], [183, 55, 121], [252, 136, 97], [252, 253, 191]], np.float32)
_BACKGROUND, _INK = (255, 255, 255), (30, 30, 30)
_GAP, _TITLE = 6, 18


def principal_colours(maps: Values) -> list[Picture]:
    """The first three principal components of all cells of all frames, as red, green and blue.

    Args:
        maps: (T, C, h, w) features.

    Returns:
        T pictures of (h, w, 3). Signs are fixed so that the same features give the same colours.
    """
    steps, channels, height, width = maps.shape
    cells = np.moveaxis(maps, 1, -1).reshape(-1, channels).astype(np.float64)  # (T * h * w, C)
    cells -= cells.mean(axis=0)
    _, _, axes = np.linalg.svd(cells.T @ cells)
    axes = axes[:3] * np.sign(axes[:3].sum(axis=1, keepdims=True) + 1e-30)
    scores = cells @ axes.T  # (T * h * w, 3)
    if scores.shape[1] < 3:
        scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
    low, high = np.percentile(scores, [1, 99], axis=0)
    scaled = np.clip((scores - low) / np.maximum(high - low, 1e-12), 0, 1) * 255
    return list(scaled.round().astype(np.uint8).reshape(steps, height, width, 3))


def heat(values: Values, low: float, high: float) -> Picture:
    """(h, w) values as colours, dark at ``low`` and bright at ``high``."""
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1) * (len(_RAMP) - 1)
    base = np.minimum(place.astype(int), len(_RAMP) - 2)
    share = (place - base)[..., None]
    return np.asarray(((1 - share) * _RAMP[base] + share * _RAMP[base + 1]).round(), dtype=np.uint8)


def over(picture: Picture, layer: Picture, opacity: float = 0.6) -> Picture:
    """A coarse layer laid over a picture, cell by cell, so that the token grid stays visible."""
    height, width = picture.shape[:2]
    large = np.asarray(Image.fromarray(layer).resize((width, height), Image.Resampling.NEAREST))
    return np.asarray(((1 - opacity) * picture + opacity * large).round(), dtype=np.uint8)


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
