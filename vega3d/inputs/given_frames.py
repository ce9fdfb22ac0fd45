"""Frames as ``process_vision_info`` of qwen-vl-utils returns them: resized, and floating point in 0..255.

A script from a Qwen model card calls it, and hands the frames to the host's processor. With ours in its place
the host's inputs have to stay what they were, so the host's processor gets such frames untouched, together
with the times that it assumes if none are given. The generator gets them as uint8.

Clips and messages are outside of this module.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

import vega3d._utils.torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
from transformers.video_utils import VideoMetadata

from vega3d.media.image import to_uint8

WITHOUT_TIMES = ("Qwen2VLProcessor",)  # their inputs do not depend on when frames were
ASSUMED_FPS = 24  # transformers' rate of frames that come without one
BETWEEN = ("window", "clip")  # modes of a generator that take frames between those that the host gets


def pixels_of(array: Tensor) -> tuple[Tensor, Tensor | None]:
    """Frames as uint8, and the array itself if it is floating point in 0..255.

    Args:
        array: (T, 3, H, W), uint8, or floating point in 0..1 or 0..255.

    Raises:
        MediaError: another type, or values outside.
    """
    if not _in_255(array):
        return to_uint8(array), None
    return array.round().to(torch.uint8), array


def _in_255(array: Tensor) -> bool:
    """True for floating values in 0..255, False for 0..1: there at least one value has to be a fraction.

    qwen-vl-utils returns whole numbers. So a clip of nothing but 0 and 1 is taken for one that is nearly
    black, as a host's own processor would take it.
    """
    if not array.is_floating_point():
        return False
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= 255:
        return False
    if high <= 1 and bool((array != array.round()).any()):
        return False
    if 0 < high <= 1:
        warnings.warn(
            "A floating-point clip has no values but 0 and 1. They are taken for 0..255, nearly black, as the"
            " host's processor does. Pass uint8 if 1 means white.",
            UserWarning,
            stacklevel=2,
        )
    return True


def assumed_metadata(host: Any, count: int, sampled: bool) -> dict[str, Any]:
    """``VideoMetadata`` that a host's processor makes up for frames that come without a rate.

    Args:
        host: the processor.
        count: number of frames.
        sampled: the frames are already sampled (``do_sample_frames=False``); otherwise the host's video
            processor may leave some of them out.

    Returns:
        With ``frames_indices``, those of the frames that it takes.
    """
    metadata = VideoMetadata(total_num_frames=count, frames_indices=list(range(count)))
    if host.video_processor.do_sample_frames and not sampled:
        metadata.frames_indices = [
            int(index) for index in host.video_processor.sample_frames(metadata=metadata)
        ]
    taken = len(metadata.frames_indices)
    if type(host).__name__ not in WITHOUT_TIMES:
        warnings.warn(
            f"Frames came without a rate. The host's processor takes {taken} of {count} frames, at"
            f" {ASSUMED_FPS} a second. Pass their true times: process_vision_info(...,"
            " return_video_kwargs=True, return_video_metadata=True), and video_metadata= to the processor.",
            UserWarning,
            stacklevel=2,
        )
    return dict(metadata)


def warn_of_size(height: int, width: int, mode: str) -> None:
    """Warn that the generator gets frames at the size that they were resized to.

    Args:
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        mode: of the generator.
    """
    between = f" Mode {mode!r} finds these frames only, none in between." if mode in BETWEEN else ""
    warnings.warn(
        f"Frames came as floating point in 0..255, {width}x{height}: qwen-vl-utils has already resized them,"
        f" and the generator gets them at that size.{between} To give it the frames at their own size, let"
        " processor.apply_chat_template(messages, tokenize=True, return_dict=True) read them.",
        UserWarning,
        stacklevel=2,
    )
