"""The 3-D position encoding: voxel indices of points, and sines and cosines of them.

Source: Video-3D-LLM, as VEGA-3D has it. Its norm is about the square root of half the width, which is large
beside most embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vega3d.errors import InputError

LOW, HIGH = (-15.0, -15.0, -5.0), (15.0, 15.0, 5.0)
"""Smallest and largest x, y, z in metres; points beyond are clamped."""
VOXEL = 0.1
"""Side of a voxel in metres."""
BASE = 10_000.0


def voxel_index(points: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Voxels of points, counted from the lowest corner.

    Args:
        points: (..., 3) metres.
        dtype: of the computation; the published code computes in the model's precision.

    Returns:
        (..., 3) whole numbers in ``dtype``; halves are rounded to even.

    Raises:
        InputError: a coordinate is not finite, as of a frame whose camera was lost.
    """
    if points.shape[-1:] != (3,):
        raise InputError("Invalid points.", got=tuple(points.shape), expected="(..., 3)")
    if not torch.isfinite(points).all():
        title, fix = "Invalid points: a coordinate is not finite.", "leave out frames without a finite pose"
        raise InputError(title, got="NaN or infinity", expected="metres", fix=fix)
    low, high = (points.new_tensor(bound, dtype=dtype) for bound in (LOW, HIGH))
    inside = torch.minimum(torch.maximum(points.to(dtype), low), high)
    return torch.round((inside - low) / VOXEL)


def position_encoding(index: Tensor, width: int, points: int = 1) -> Tensor:
    """Sines and cosines of voxel indices.

    Args:
        index: (..., 3), or (..., n, 3) for several points of a token.
        width: of the tokens; what does not divide by three axes and all points is zero at the end.
        points: n.

    Returns:
        (..., width) in the dtype of ``index``, computed in float32 or better; float32 for whole numbers.

    Raises:
        InputError: the shape does not fit.
    """
    expected = (3,) if points == 1 else (points, 3)
    if points < 1 or tuple(index.shape[-len(expected) :]) != expected:
        wanted = f"(..., {', '.join(map(str, expected))})"
        raise InputError("Invalid voxel indices.", got=tuple(index.shape), expected=wanted)
    dtype = index.dtype if index.is_floating_point() else torch.float32
    axes = index.reshape(*index.shape[: -len(expected)], 3 * points)
    axes = axes.to(torch.promote_types(dtype, torch.float32))
    size = width // (3 * points)
    channel = torch.arange(size, device=index.device)
    wave = BASE ** (2 * torch.div(channel, 2, rounding_mode="floor") / max(1, size))
    angles = axes[..., None] / wave  # (..., 3 n, size)
    waves = torch.where(channel % 2 == 0, angles.sin(), angles.cos())
    flat = waves.reshape(*axes.shape[:-1], 3 * points * size)
    return torch.nn.functional.pad(flat, (0, width - flat.shape[-1])).to(dtype)
