"""Decoded frames as every backbone takes them: checked, in [0, 1], and in micro-batches of one fixed size.

The range of values is taken from the dtype and checked, never guessed (the released code guesses it, per
batch). A kernel may round differently for another number of rows. With one size for all forwards, a feature
does not depend on the rest of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        expected = "a tensor (frames, 3, height, width) with at least one frame and one pixel"
        fix = "convert to RGB and stack the frames of a clip; a single frame is frame[None]"
        raise InputError(f"Invalid shape of frames: {shape}.", got=shape, expected=expected, fix=fix)
    dtype, expected = frames.dtype, "uint8 in 0..255, or float in [0, 1]"
    if dtype == torch.uint8:
        return frames
    if not frames.is_floating_point():
        fix = "call .to(torch.uint8) if the values are 0..255"
        raise InputError(f"Invalid dtype of frames: {dtype}.", got=dtype, expected=expected, fix=fix)
    low, high = (float(end) for end in torch.aminmax(frames.detach().float()))
    if not (low >= -SLACK and high <= 1.0 + SLACK):  # also refuses nan
        fix = "pass the decoded uint8 frames, or undo a host's normalisation"
        title = f"Invalid range of frames: [{low:g}, {high:g}] is not within [0, 1]."
        raise InputError(title, got=f"{dtype} in [{low:g}, {high:g}]", expected=expected, fix=fix)
    return frames


def unit(frames: Tensor) -> Tensor:
    """Convert uint8 to float32 in [0, 1]; floats, which are in that range already, to float32."""
    return frames.float().div(255.0) if frames.dtype == torch.uint8 else frames.float()


def in_micro_batches(
    items: Any,
    size: int,
    encode: Callable[[Tensor], Tensor],
    prepare: Callable[[Any], Tensor] | None = None,
) -> Tensor:
    """Encode items in parts of exactly ``size`` rows; the last part is padded with its last row.

    Args:
        items: a tensor (N, ...), or a sequence of N items that ``prepare`` stacks.
        size: rows of a part.
        encode: (size, ...) to (size, ...).
        prepare: items of one part to (n, ...); only one part of them is in memory at a time.

    Returns:
        (N, ...).
    """
    done = []
    for first in range(0, len(items), size):
        part = items[first : first + size]
        rows: Tensor = part if prepare is None else prepare(part)  # (n, ...)
        filled = torch.cat([rows, rows[-1:].expand(size - len(rows), *rows.shape[1:])])
        done.append(encode(filled.contiguous())[: len(rows)])
    return torch.cat(done)
