"""Decoded frames as every backbone takes them: checked for shape, dtype and range, then in [0, 1].

The range of values is taken from the dtype and checked, never guessed (the released code guesses it, per
batch).
"""

from __future__ import annotations

import torch
from torch import Tensor

from vega3d.errors import InputError

SLACK = 1e-4  # rounding of a resize may leave [0, 1] by this much


def require_frames(frames: object) -> Tensor:
    """Check frames (N, 3, H, W): uint8, or float in [0, 1]; returns them unchanged.

    Raises:
        InputError: another shape, dtype or range, or no frame at all.
    """
    if not isinstance(frames, Tensor) or frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
        shape = tuple(frames.shape) if isinstance(frames, Tensor) else type(frames).__name__
        raise InputError(
            f"Invalid shape of frames: {shape}.",
            got=shape,
            expected="a tensor (frames, 3, height, width) with at least one frame and one pixel",
            fix="convert to RGB and stack the frames of a clip; a single frame is frame[None]",
        )
    if frames.dtype != torch.uint8:
        _require_unit_range(frames)
    return frames


def _require_unit_range(frames: Tensor) -> None:
    expected = "uint8 in 0..255, or float in [0, 1]"
    if not frames.is_floating_point():
        fix = "call .to(torch.uint8) if the values are 0..255"
        raise InputError(
            f"Invalid dtype of frames: {frames.dtype}.", got=str(frames.dtype), expected=expected, fix=fix
        )
    low, high = (float(end) for end in torch.aminmax(frames.detach().float()))
    if not (low >= -SLACK and high <= 1.0 + SLACK):  # also refuses nan
        raise InputError(
            f"Invalid range of frames: [{low:g}, {high:g}] is not within [0, 1].",
            got=f"{frames.dtype} in [{low:g}, {high:g}]",
            expected=expected,
            fix="pass the decoded uint8 frames, or undo a host's normalisation",
        )


def unit(frames: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]; floats, which are in that range already, to float32."""
    return frames.float().div(255.0) if frames.dtype == torch.uint8 else frames.float()
