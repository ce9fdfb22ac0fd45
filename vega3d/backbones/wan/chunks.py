"""Chunks: frames that are encoded together as one video, and the frames that each latent frame describes.

A plan gives the chunks of a clip. The mode selects the latents that are kept of each chunk: the last one of a
micro-clip, that of the frame after a reference, or all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vega3d.backbones.wan.config import Mode, WanConfig
from vega3d.errors import InputError
from vega3d.media.frame_plan import FramePlan

Steps = tuple[tuple[int, ...], ...]
"""Positions that each kept latent frame describes."""


@dataclass(frozen=True)
class Chunk:
    """Frames of one clip that are encoded together.

    Attributes:
        clip: index of the clip in the call.
        positions: positions of the frames in the clip.
        frames: the decoded frames (t, 3, H, W).
    """

    clip: int
    positions: tuple[int, ...]
    frames: Tensor


def find_chunks(clips: Sequence[Tensor], plans: Sequence[FramePlan] | None, config: WanConfig) -> list[Chunk]:
    """Find the chunks of all clips, in order; without plans, those of the settings' own plan.

    Raises:
        InputError: a plan does not fit its clip, or was made for another mode.
    """
    plans = plans if plans is not None else [config.frame_plan(range(len(clip))) for clip in clips]
    if len(plans) != len(clips):
        raise _unfit(f"{len(plans)} plans for {len(clips)} clips", "one plan for each clip")
    chunks: list[Chunk] = []
    for index, (clip, plan) in enumerate(zip(clips, plans, strict=True)):
        if len(plan.generative) != len(clip):
            raise _unfit(f"{len(clip)} frames in clip {index}", f"the plan's {len(plan.generative)} frames")
        _require_mode(plan, config)
        chunks += [Chunk(index, run, clip[list(run)]) for run in plan.runs]
    return chunks


def steps(chunk: Chunk, mode: Mode) -> Steps:
    """Positions that each kept latent frame of a chunk describes, in order."""
    if mode == "joint":
        return tuple((position,) for position in chunk.positions)
    if mode != "clip":
        return (chunk.positions[-1:],)
    latents = 1 + -(-(len(chunk.positions) - 1) // 4)  # an incomplete last group of four is padded
    return tuple(
        chunk.positions[:1] if latent == 0 else chunk.positions[4 * latent - 3 : 4 * latent + 1]
        for latent in range(latents)
    )


def _require_mode(plan: FramePlan, config: WanConfig) -> None:
    lengths = {len(run) for run in plan.runs}
    expected = {"window": config.window, "vace_reference": 2}.get(config.mode, 1)
    if config.mode in ("joint", "clip"):
        expected = config.max_latent_frames if config.mode == "joint" else 4 * config.max_latent_frames - 3
        if max(lengths) <= expected:
            return
    elif lengths == {expected}:
        return
    expectation = f"chunks that mode {config.mode!r} encodes ({expected})"
    raise _unfit(f"chunks of {sorted(lengths)} frames", expectation)


def _unfit(got: str, expected: str) -> InputError:
    return InputError(
        f"Invalid frames or plan: {got}.",
        got=got,
        expected=expected,
        fix="plan with backbone.config.frame_plan(frames), or give processor and backbone the same config",
    )
