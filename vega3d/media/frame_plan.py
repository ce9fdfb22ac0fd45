"""FramePlan: frames of a clip for the host and for the generator, and the links between them.

Both are decoded once, as a union.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vega3d.errors import InputError


@dataclass(frozen=True)
class FramePlan:
    """Frames of one clip for the host and for the generator, and the links between them.

    Attributes:
        host: source frame numbers of the host's frames, in order; never padded.
        generative: source frame numbers of the frames that the generator encodes, in order.
        links: for each host frame, the positions in ``generative`` that describe it.
        runs: positions in ``generative`` that the generator encodes together, as one video; empty means
            each frame alone.

    Raises:
        InputError: a number is negative, a host frame has no link, or a link or run is out of range.
    """

    host: tuple[int, ...]
    generative: tuple[int, ...]
    links: tuple[tuple[int, ...], ...]
    runs: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", tuple(int(index) for index in self.host))
        object.__setattr__(self, "generative", tuple(int(index) for index in self.generative))
        object.__setattr__(self, "links", tuple(tuple(int(index) for index in link) for link in self.links))
        alone = tuple((index,) for index in range(len(self.generative)))
        object.__setattr__(
            self, "runs", tuple(tuple(int(index) for index in run) for run in self.runs) or alone
        )
        if not self.host or not self.generative:
            raise _bad_plan("is empty", (self.host, self.generative), "at least one frame on both sides")
        if min(self.host) < 0 or min(self.generative) < 0:
            raise _bad_plan("counts frames below 0", (self.host, self.generative), "frame numbers from 0")
        if len(self.links) != len(self.host) or not all(self.links):
            expected = f"{len(self.host)} non-empty links, one for each host frame"
            raise _bad_plan("leaves a host frame without a link", self.links, expected)
        if any(not 0 <= index < len(self.generative) for link in (*self.links, *self.runs) for index in link):
            expected = f"positions in generative, 0..{len(self.generative) - 1}"
            raise _bad_plan("has a link out of range", (self.links, self.runs), expected)

    @classmethod
    def per_frame(cls, host: Sequence[int]) -> FramePlan:
        """Each distinct source frame is encoded once; a host frame is described by itself."""
        generative = tuple(dict.fromkeys(int(index) for index in host))
        positions = {index: position for position, index in enumerate(generative)}
        return cls(tuple(host), generative, tuple((positions[int(index)],) for index in host))

    @classmethod
    def windows(cls, host: Sequence[int], length: int) -> FramePlan:
        """For each host frame the ``length`` source frames that end at it; frame 0 fills up the start."""
        ends = dict.fromkeys(int(index) for index in host)
        spans = {end: [max(0, frame) for frame in range(end - length + 1, end + 1)] for end in ends}
        generative = tuple(sorted({frame for span in spans.values() for frame in span}))
        positions = {index: position for position, index in enumerate(generative)}
        runs = tuple(tuple(positions[frame] for frame in span) for span in spans.values())
        return cls(tuple(host), generative, tuple((positions[int(index)],) for index in host), runs)

    @classmethod
    def together(cls, host: Sequence[int], longest: int, between: int = 0) -> FramePlan:
        """All host frames, with ``between`` source frames between two of them, as one video.

        A video of more than ``longest`` frames is split into parts of equal length.
        """
        ends = list(dict.fromkeys(int(index) for index in host))
        generative = _filled(ends, between)
        positions = {index: position for position, index in enumerate(generative)}
        links = tuple((positions[int(index)],) for index in host)
        return cls(tuple(host), generative, links, _split(len(generative), longest))

    @classmethod
    def beside_first(cls, host: Sequence[int]) -> FramePlan:
        """Each host frame behind the first one, as a video of two frames."""
        plan = cls.per_frame(host)
        return replace(plan, runs=tuple((0, position) for position in range(len(plan.generative))))

    @property
    def union(self) -> tuple[int, ...]:
        """The source frames that must be decoded, sorted, each once."""
        return tuple(sorted({*self.host, *self.generative}))


def frame_plan(settings: Any, host: Sequence[int]) -> FramePlan:
    """The plan that a backbone's settings ask for, from the source frames that the host sees.

    Args:
        settings: of any backbone; without a method ``frame_plan`` each frame is encoded alone.
        host: source frame numbers, in order.
    """
    plan: FramePlan = getattr(settings, "frame_plan", FramePlan.per_frame)(host)
    return plan


def _filled(frames: Sequence[int], between: int) -> tuple[int, ...]:
    """``frames`` and evenly spaced frames between each two of them, as many of ``between`` as there are."""
    filled = [frames[0]]
    for last, following in itertools.pairwise(frames):
        steps = min(between + 1, max(1, abs(following - last)))
        filled += [last + round((following - last) * step / steps) for step in range(1, steps + 1)]
    return tuple(dict.fromkeys(filled))


def _split(count: int, longest: int) -> tuple[tuple[int, ...], ...]:
    """Positions 0..count-1 in as few parts of at most ``longest`` as possible, equal to one frame."""
    parts = -(-count // longest)
    edges = [count * part // parts for part in range(parts + 1)]
    return tuple(tuple(range(low, high)) for low, high in itertools.pairwise(edges))


def _bad_plan(problem: str, got: object, expected: str) -> InputError:
    fix = "build it with FramePlan.per_frame(host_frames)"
    return InputError(f"Invalid frame plan: it {problem}.", got=got, expected=expected, fix=fix)
