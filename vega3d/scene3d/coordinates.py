"""World coordinates of visual tokens: depth maps back-projected, resized and pooled over patches.

Source: VEGA-3D, which took it from Video-3D-LLM. The published code counts pixels from the centre of the
first pixel; `vega3d.geometry` puts that centre at (0.5, 0.5). Its mean also counts pixels without depth. With
``valid`` they are left out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vega3d.errors import InputError, unknown_choice

MILLIMETRES = 1000.0
_SAMPLES: Mapping[str, slice] = {
    "sample9": slice(None),
    "sample5": slice(None, None, 2),
    "sample1": slice(4, 5),
}


def back_project(depth_mm: Tensor, intrinsics: Tensor, pose: Tensor) -> Tensor:
    """World points of depth maps.

    Args:
        depth_mm: (V, h, w) z-depth in millimetres; 0 means that there is none.
        intrinsics: (4, 4) or (3, 3) matrix of the depth camera, pixel centres at whole numbers.
        pose: (V, 4, 4) camera to world, with the axis alignment of the scene applied: ``alignment @ pose``.

    Returns:
        (V, h, w, 3) float32 metres. A pixel without depth is at the camera's centre.

    Raises:
        InputError: a shape does not fit.
    """
    views, height, width = _views(depth_mm, 3, "depth maps (V, h, w)")
    if intrinsics.shape not in ((3, 3), (4, 4)):
        raise _unfit("intrinsics", intrinsics, "(3, 3) or (4, 4)")
    if pose.shape != (views, 4, 4):
        raise _unfit("poses", pose, f"({views}, 4, 4): one for each depth map")
    matrix, place = intrinsics.to(torch.float32), pose.to(torch.float32)
    depth = depth_mm.to(torch.float32) / MILLIMETRES
    column = torch.arange(width, dtype=torch.float32, device=depth.device)
    row = torch.arange(height, dtype=torch.float32, device=depth.device)[:, None]
    x = (column - matrix[0, 2]) * depth / matrix[0, 0]
    y = (row - matrix[1, 2]) * depth / matrix[1, 1]
    points = torch.stack([x, y, depth, torch.ones_like(depth)], dim=-1)  # (V, h, w, 4) in the camera's axes
    return torch.einsum("vij,vhwj->vhwi", place, points)[..., :3].contiguous()


def resized(points: Tensor, size: int) -> Tensor:
    """(V, h, w, ...) at (V, size, size, ...): the nearest pixel, rounded down, as in the published code."""
    rows, columns = (
        (torch.arange(size, device=points.device) * side // size)
        for side in (points.shape[1], points.shape[2])
    )
    return points[:, rows][:, :, columns]


def pool_coordinates(
    points: Tensor,
    size: int = 384,
    patch: int = 27,
    grid: int = 14,
    rule: str = "mean",
    valid: Tensor | None = None,
) -> Tensor:
    """Coordinates of the tokens of a square picture.

    Args:
        points: (V, h, w, 3) metres.
        size: side in pixels to which they are resized.
        patch: side of a token in pixels.
        grid: tokens in a row and in a column, from the upper left; pixels beyond ``grid * patch`` are unused.
        rule: ``mean``; ``minmax``; ``sample9``, ``sample5`` or ``sample1``: fixed pixels of the patch.
        valid: (V, h, w) mask of pixels with depth, for ``mean`` and ``minmax``; None takes all.

    Returns:
        (V, grid, grid, 3), or (V, grid, grid, n, 3) with n = 2, 9 or 5 points for ``minmax``, ``sample9`` and
        ``sample5``. NaN where a patch has no valid pixel.

    Raises:
        InputError: a shape does not fit, or the patches are larger than the picture.
        ConfigError: the rule is unknown.
    """
    _views(points, 4, "points (V, h, w, 3)")
    if points.shape[-1] != 3 or (valid is not None and valid.shape != points.shape[:3]):
        raise _unfit("mask", points if valid is None else valid, "points (V, h, w, 3) and a mask (V, h, w)")
    if grid * patch > size:
        title = "Invalid patches: they are larger than the picture."
        raise InputError(title, got=f"{grid} patches of {patch}", expected=f"at most {size} pixels")
    rules = ("mean", "minmax", *_SAMPLES)
    if rule not in rules:
        raise unknown_choice("rule of pooling", rule, rules)
    cells = patches(resized(points, size), patch, grid)  # (V, grid, grid, patch * patch, 3)
    if rule in _SAMPLES:
        return _sampled(cells, patch, _SAMPLES[rule])
    if valid is None:
        return _POOLS[rule](cells)
    inside = patches(resized(valid, size)[..., None], patch, grid)  # (V, grid, grid, patch * patch, 1)
    return _MASKED_POOLS[rule](cells, inside)


def patches(values: Tensor, patch: int, grid: int) -> Tensor:
    """(V, size, size, C) as (V, grid, grid, patch * patch, C), pixels of a patch row by row."""
    views, channels, side = values.shape[0], values.shape[-1], grid * patch
    cut = values[:, :side, :side].reshape(views, grid, patch, grid, patch, channels)
    return cut.transpose(2, 3).reshape(views, grid, grid, patch * patch, channels)


def _sampled(cells: Tensor, patch: int, chosen: slice) -> Tensor:
    places = [patch // 6, patch // 2, 5 * patch // 6]
    pixels = [row * patch + column for row in places for column in places][chosen]
    points = cells[..., pixels, :]
    return points if len(pixels) > 1 else points[..., 0, :]


def _extremes(cells: Tensor) -> Tensor:
    return torch.stack([cells.amin(-2), cells.amax(-2)], dim=-2)


def _masked_mean(cells: Tensor, inside: Tensor) -> Tensor:
    total = torch.where(inside, cells, 0).sum(-2)
    count = inside.sum(-2)
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)


def _masked_extremes(cells: Tensor, inside: Tensor) -> Tensor:
    low = torch.where(inside, cells, torch.inf).amin(-2)
    high = torch.where(inside, cells, -torch.inf).amax(-2)
    bounds = torch.stack([low, high], dim=-2)
    return torch.where(torch.isfinite(bounds), bounds, torch.nan)


_POOLS: Mapping[str, Callable[[Tensor], Tensor]] = {"mean": lambda cells: cells.mean(-2), "minmax": _extremes}
_MASKED_POOLS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": _masked_mean,
    "minmax": _masked_extremes,
}


def _views(values: Tensor, ndim: int, expected: str) -> Sequence[int]:
    if values.ndim != ndim:
        raise _unfit("shape", values, expected)
    return values.shape[:3]


def _unfit(what: str, values: Tensor, expected: str) -> InputError:
    return InputError(f"Invalid {what} of a scene.", got=tuple(values.shape), expected=expected)
