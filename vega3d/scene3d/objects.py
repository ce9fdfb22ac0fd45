"""Features of objects: the visual tokens inside a box, averaged over frames, and the place of its centre.

Source: Video-3D-LLM. A token belongs to a box if enough of its pixels lie in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vega3d.errors import InputError
from vega3d.scene3d.coordinates import patches, resized
from vega3d.scene3d.positions import position_encoding, voxel_index

SIZE = 384
"""Side in pixels of the published picture."""


def object_mask(points: Tensor, boxes: Tensor, patch: int = 14, share: float = 0.5) -> Tensor:
    """Tokens of each box.

    Args:
        points: (V, h, w, 3) metres at the resolution of the depth; resized to 384 x 384.
        boxes: (N, 6) centre and size in metres, without rotation.
        patch: side of a token in pixels.
        share: of its pixels that must lie in the closed box.

    Returns:
        bool (N, V, g, g) with g = 384 // ``patch``: 27 tokens in a row by default.

    Raises:
        InputError: a shape does not fit.
    """
    if points.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 6:
        got = f"points {tuple(points.shape)}, boxes {tuple(boxes.shape)}"
        raise InputError("Invalid scene.", got=got, expected="points (V, h, w, 3), boxes (N, 6)")
    grid, least = SIZE // patch, int(share * patch**2)
    cells = patches(resized(points, SIZE), patch, grid)  # (V, g, g, patch * patch, 3)
    masks = [_inside(cells, box).sum(-1) >= least for box in boxes]
    return torch.stack(masks) if masks else torch.zeros(0, *cells.shape[:3], dtype=torch.bool)


def object_features(tokens: Tensor, mask: Tensor, centres: Tensor) -> Tensor:
    """Features of objects.

    Args:
        tokens: (V, g * g, D) visual tokens.
        mask: bool (N, V, g, g).
        centres: (N, 3) metres.

    Returns:
        (N, D): the mean of an object's tokens over all frames, zeros if it has none, plus the position
        encoding of its centre.

    Raises:
        InputError: a shape does not fit.
    """
    count, width = len(centres), tokens.shape[-1]
    if mask.shape[0] != count or mask[0:1].numel() not in (0, tokens.shape[0] * tokens.shape[1]):
        got = f"mask {tuple(mask.shape)}, tokens {tuple(tokens.shape)}, {count} centres"
        raise InputError("Invalid objects.", got=got, expected="mask (N, V, g, g), tokens (V, g * g, D)")
    member = mask.reshape(count, tokens.shape[0] * tokens.shape[1]).to(tokens.dtype)
    total = member @ tokens.reshape(-1, width)
    mean = total / member.sum(1, keepdim=True).clamp(min=1)
    return mean + position_encoding(voxel_index(centres), width).to(tokens.dtype)


def _inside(points: Tensor, box: Tensor) -> Tensor:
    low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    return ((points >= low) & (points <= high)).all(-1)
