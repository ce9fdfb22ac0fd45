"""Frames of a video that the host sees: sampling repeats qwen-vl-utils, number for number."""

from __future__ import annotations

import math

import torch

from vega3d.errors import InputError
from vega3d.media.decoding import DEFAULT_FPS, VideoInfo


def frame_range(info: VideoInfo, start: float | None = None, end: float | None = None) -> range:
    """The frames between two times in seconds, both included; all frames without them."""
    first = math.ceil(max(0.0, min(start, info.duration)) * info.fps) if start is not None else 0
    last = math.floor(max(0.0, min(end, info.duration)) * info.fps) if end is not None else info.n_frames
    last = min(last, info.n_frames - 1)
    if first > last:
        what, got = f"Invalid start and end: no frame of {info.path}.", f"start {start} s, end {end} s"
        expected = f"times within 0..{info.duration:.2f} s, a frame ({1 / info.fps:.3f} s) apart or more"
        raise InputError(what, got=got, expected=expected, fix="widen the range")
    return range(first, last + 1)


def sample_indices(
    info: VideoInfo,
    *,
    fps: float | None = None,
    nframes: int | None = None,
    min_frames: int = 4,
    max_frames: int = 768,
    factor: int = 2,
    start: float | None = None,
    end: float | None = None,
) -> tuple[int, ...]:
    """Evenly spaced frame numbers, as qwen-vl-utils picks them.

    Args:
        info: the video.
        fps: frames to take for each second; 2.0 if neither it nor ``nframes`` is given.
        nframes: frames to take in all, rounded to a multiple of ``factor``.
        min_frames: at least so many under ``fps``, where the video has them.
        max_frames: at most so many under ``fps``.
        factor: frames that the host merges into one time step.
        start: seconds; earlier frames are left out.
        end: seconds; later frames are left out.

    Returns:
        Frame numbers in order. A video of fewer than ``factor`` frames gives all of its frames.

    Raises:
        InputError: contradicting arguments, or more frames asked for than there are.
    """
    span = frame_range(info, start, end)
    if nframes is not None and fps is not None:
        raise _bad_sampling(f"fps={fps}, nframes={nframes}", "fps or nframes, not both", "drop one of them")
    if fps is not None and not fps > 0:
        raise _bad_sampling(f"fps={fps}", "a positive number of frames a second", "pass fps=2.0")
    if len(span) < factor and (nframes is None or 1 <= nframes <= len(span)):
        return tuple(span)
    if nframes is not None:
        count = round(nframes / factor) * factor
    else:
        low = math.ceil(min_frames / factor) * factor
        high = math.floor(min(max_frames, len(span)) / factor) * factor
        asked = len(span) / info.fps * (fps if fps is not None else DEFAULT_FPS)
        count = math.floor(min(max(asked, low), high, len(span)) / factor) * factor
    if not factor <= count <= len(span):
        got = f"{count} of {len(span)} frames"
        expected = f"{factor} to {len(span)} frames: {info.path} has no more in that range"
        raise _bad_sampling(got, expected, "lower nframes, or pass fps instead")
    return tuple(torch.linspace(span[0], span[-1], count).round().long().tolist())


def _bad_sampling(got: str, expected: str, fix: str) -> InputError:
    return InputError(f"Invalid sampling: {got}.", got=got, expected=expected, fix=fix)
