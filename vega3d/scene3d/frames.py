"""Choice of the frames of a scan: evenly spaced, or those that show most of the scene.

Source: Video-3D-LLM. Ties of the coverage are broken there at random, and here by the lowest index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vega3d.errors import InputError


def uniform_frames(n: int, k: int) -> list[int]:
    """Indices of ``k`` frames of ``n``, evenly spaced and rounded down; they repeat if ``n`` is smaller.

    Raises:
        InputError: a number is below 1.
    """
    if n < 1 or k < 1:
        raise InputError("Invalid number of frames.", got=f"{k} of {n}", expected="at least 1 of 1")
    chosen: list[int] = np.linspace(0, n - 1, k, dtype=int).tolist()
    return chosen


def coverage_frames(voxels: Sequence[NDArray[np.integer]], k: int) -> list[int]:
    """Frames that show most of a scene, one after another.

    Args:
        voxels: for each candidate frame an integer array (n_i, 3) of the scene's voxels that it shows.
        k: most frames.

    Returns:
        Indices in order of choice. Each frame adds most voxels to those before it; the list ends where no
        frame adds any.

    Raises:
        InputError: ``k`` is below 1, or an array has another shape.
    """
    if k < 1:
        raise InputError("Invalid number of frames.", got=k, expected="at least 1")
    remaining = [_codes(frame) for frame in voxels]
    chosen: list[int] = []
    while len(chosen) < k:
        gains = [len(codes) for codes in remaining]
        if not gains or max(gains) == 0:
            break
        best = int(np.argmax(gains))
        chosen.append(best)
        shown = remaining[best]
        remaining = [np.setdiff1d(codes, shown, assume_unique=True) for codes in remaining]
    return chosen


def _codes(voxels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Each voxel as one number; sorted, without repetitions."""
    voxels = np.asarray(voxels)
    if voxels.ndim != 2 or voxels.shape[1] != 3:
        raise InputError("Invalid voxels of a frame.", got=voxels.shape, expected="(n, 3)")
    offset = voxels.astype(np.int64) + 2**20
    return np.unique((offset[:, 0] << 42) | (offset[:, 1] << 21) | offset[:, 2])
