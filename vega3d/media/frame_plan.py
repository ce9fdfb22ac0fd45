"""FramePlan: frames of a clip for the host and for the generator, and which of them belong together.

Both are decoded once, as a union.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from vega3d._utils import moved
from vega3d.errors import InputError


@moved.fields(moved.Renames({"links": "host_to_generator"}))
@dataclass(frozen=True)
class FramePlan:
    """Frames of one clip for the host and for the generator, and which of them belong together.

    Attributes:
        host: source frame numbers of the host's frames, in order; never padded.
        generative: source frame numbers of the frames that the generator encodes, in order.
        host_to_generator: for each host frame, the positions in ``generative`` that describe it.
        runs: positions in ``generative`` that the generator encodes together, as one video; empty means
            each frame alone.

    Raises:
        InputError: a number is negative, a host frame is not described, or a position is out of range.
    """

    host: tuple[int, ...]
    generative: tuple[int, ...]
    host_to_generator: tuple[tuple[int, ...], ...]
    runs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        runs = self.runs or [(index,) for index in range(len(self.generative))]
        for name, numbers in (("host", self.host), ("generative", self.generative)):
            object.__setattr__(self, name, tuple(map(int, numbers)))
        for name, rows in (("host_to_generator", self.host_to_generator), ("runs", runs)):
            object.__setattr__(self, name, tuple(tuple(map(int, row)) for row in rows))
        described, count = self.host_to_generator, len(self.generative)
        if not self.host or not self.generative or min(self.host + self.generative) < 0:
            raise _bad_plan(
                "frames are missing or below 0",
                (self.host, self.generative),
                "frame numbers from 0 on both sides",
            )
        if len(described) != len(self.host) or not all(described):
            expected = f"{len(self.host)} non-empty entries, one for each host frame"
            raise _bad_plan("a host frame is not described", described, expected)
        if any(not 0 <= index < count for row in (*described, *self.runs) for index in row):
            expected = f"positions in generative, 0..{count - 1}"
            raise _bad_plan("a position is out of range", (described, self.runs), expected)

    @classmethod
    def per_frame(cls, host: Sequence[int]) -> FramePlan:
        """Each distinct source frame is encoded once; a host frame is described by itself."""
        return cls._of(host, _distinct(host))

    @classmethod
    def windows(cls, host: Sequence[int], length: int) -> FramePlan:
        """For each host frame the ``length`` source frames that end at it; frame 0 fills up the start."""
        spans = [[max(0, end - back) for back in reversed(range(length))] for end in _distinct(host)]
        return cls._of(host, sorted({frame for span in spans for frame in span}), spans)

    @classmethod
    def together(cls, host: Sequence[int], longest: int, between: int = 0) -> FramePlan:
        """All host frames, with ``between`` source frames between two of them, as one video.

        A video of more than ``longest`` frames is split into as few parts as possible, equal to one frame.
        """
        generative = _filled(_distinct(host), between)
        count, parts = len(generative), -(-len(generative) // longest)
        edges = [count * part // parts for part in range(parts + 1)]
        return cls._of(host, generative, [generative[low:high] for low, high in itertools.pairwise(edges)])

    @classmethod
    def beside_first(cls, host: Sequence[int]) -> FramePlan:
        """Each host frame behind the first one, as a video of two frames."""
        frames = _distinct(host)
        return cls._of(host, frames, [(frames[0], frame) for frame in frames])

    @classmethod
    def _of(cls, host: Sequence[int], frames: Sequence[int], runs: Iterable[Sequence[int]] = ()) -> FramePlan:
        """The plan in which each host frame is described by itself; ``runs`` holds source frame numbers."""
        positions = {frame: position for position, frame in enumerate(frames)}
        described = tuple((positions[int(frame)],) for frame in host)
        in_frames = tuple(tuple(positions[frame] for frame in run) for run in runs)
        return cls(tuple(host), tuple(frames), described, in_frames)

    @property
    def union(self) -> tuple[int, ...]:
        """The source frames that must be decoded, sorted, each once."""
        return tuple(sorted({*self.host, *self.generative}))


def frame_plan(settings: Any, host: Sequence[int]) -> FramePlan:
    """The plan that a backbone's settings ask for, from the source frames that the host sees."""
    plan: FramePlan = getattr(settings, "frame_plan", FramePlan.per_frame)(host)
    return plan


def _distinct(frames: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(map(int, frames)))


def _filled(frames: Sequence[int], between: int) -> list[int]:
    """``frames`` and evenly spaced frames between each two of them, as many of ``between`` as there are."""
    filled = list(frames[:1])
    for last, following in itertools.pairwise(frames):
        steps = min(between + 1, max(1, abs(following - last)))
        filled += [last + round((following - last) * step / steps) for step in range(1, steps + 1)]
    return _distinct(filled)


def _bad_plan(problem: str, got: object, expected: str) -> InputError:
    fix = "build it with FramePlan.per_frame(host_frames)"
    return InputError(f"Invalid frame plan: {problem}.", got=got, expected=expected, fix=fix)
