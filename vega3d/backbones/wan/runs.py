"""Runs: frames that are encoded together as one video, and which of them each latent frame describes.

A plan names the runs of a clip, the mode says what is read off them: the last latent of a micro-clip, the
frame behind a reference, or every latent. This module knows no tensors but the decoded frames it carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vega3d.config import Mode, WanConfig
from vega3d.errors import InputError
from vega3d.video import FramePlan, frame_plan

AS_VIDEO: tuple[Mode, ...] = ("window", "clip")
"""Modes whose VAE sees a run as a video; in the others it sees single frames."""

Steps = tuple[tuple[int, ...], ...]
"""For each kept latent frame, the positions that it describes."""


@dataclass(frozen=True)
class Run:
    """One run of one clip.

    Attributes:
        clip: number of the clip in the call.
        positions: its frames, as positions in the clip.
        frames: the decoded frames (t, 3, H, W).
    """

    clip: int
    positions: tuple[int, ...]
    frames: Tensor


def find_runs(
    clips: Sequence[Tensor], plans: Sequence[FramePlan] | None, config: WanConfig
) -> tuple[list[Run], list[FramePlan]]:
    """The runs of all clips in order; without plans, those that the settings ask for.

    Raises:
        InputError: a plan does not fit its clip, or was made for another mode.
    """
    plans = plans if plans is not None else [frame_plan(config, range(len(clip))) for clip in clips]
    if len(plans) != len(clips):
        raise _unfit(f"{len(plans)} plans for {len(clips)} clips", "one plan for each clip")
    found: list[Run] = []
    for number, (clip, plan) in enumerate(zip(clips, plans, strict=True)):
        if len(plan.generative) != len(clip):
            raise _unfit(f"{len(clip)} frames in clip {number}", f"the plan's {len(plan.generative)} frames")
        _require_mode(plan, config)
        found += [Run(number, run, clip[list(run)]) for run in plan.runs]
    return found, list(plans)


def steps(run: Run, mode: Mode) -> Steps:
    """What each kept latent frame of a run describes, in order."""
    if mode == "joint":
        return tuple((at,) for at in run.positions)
    if mode != "clip":
        return (run.positions[-1:],)
    latents = 1 + -(-(len(run.positions) - 1) // 4)  # an incomplete last group of four is padded
    return tuple(
        run.positions[:1] if latent == 0 else run.positions[4 * latent - 3 : 4 * latent + 1]
        for latent in range(latents)
    )


def _require_mode(plan: FramePlan, config: WanConfig) -> None:
    lengths = {len(run) for run in plan.runs}
    expected = {"window": config.window, "vace_reference": 2}.get(config.mode, 1)
    if config.mode in ("joint", "clip"):
        expected = config.length if config.mode == "joint" else 4 * config.length - 3
        if max(lengths) <= expected:
            return
    elif lengths == {expected}:
        return
    raise _unfit(f"runs of {sorted(lengths)} frames", f"runs that mode {config.mode!r} encodes ({expected})")


def _unfit(got: str, expected: str) -> InputError:
    return InputError(
        "Frames and plan do not fit the backbone.",
        got=got,
        expected=expected,
        fix="make it with vega3d.video.frame_plan(backbone.config, frames), or give processor and backbone "
        "the same config",
    )
