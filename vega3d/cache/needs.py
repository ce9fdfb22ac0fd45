"""From rows of annotations to jobs: which runs of which media a store has to hold.

A job is one run, the frames that a generator encodes together: a single frame in mode ``frame``. Of videos
only the header is read, of pictures the size, of both the bytes for their identity. Keys are made by the same
functions that a processor looks features up with.

This module computes nothing and writes nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from vega3d.clips import Clip, plan_clip
from vega3d.config import MarksSeen
from vega3d.data.annotations import Row
from vega3d.errors import InputError, Vega3DError
from vega3d.image import image_size, load_image, open_source
from vega3d.marks import Marks, draw, identify_drawn
from vega3d.messages import ImageRequest, VideoRequest
from vega3d.store.keys import FeatureKey, IdentityPolicy, identify
from vega3d.store.lookup import Size, picture_keys, video_keys
from vega3d.video import FramePlan, frame_plan, read_frames, stack_frames

Kind = Literal["video", "pictures"]

THREADS = 8  # reading headers and hashing files waits for the disk
AT_ONCE = 256  # rows
BLOCK = 32  # runs of one file that stay on one rank


@dataclass(frozen=True)
class Job:
    """One run to compute.

    Attributes:
        key: its address.
        kind: whether the files are one video or single pictures.
        files: the video, or the pictures that the key's frame numbers count.
        marks: what the generator sees drawn on each of the pictures; empty for nothing on any.
    """

    key: FeatureKey
    kind: Kind
    files: tuple[str, ...]
    marks: tuple[Marks, ...] = ()

    def plan(self) -> FramePlan:
        """The run alone, as a clip of its own."""
        places = tuple(range(len(self.key.frames)))
        return FramePlan((0,), places, (places,), (places,))


@dataclass(frozen=True)
class Problem:
    """A medium whose features cannot be stored.

    Attributes:
        where: the row or the medium.
        error: why.
    """

    where: str
    error: Vega3DError


@dataclass(frozen=True)
class Needs:
    """Which jobs rows need.

    Attributes:
        settings: of the generator; its mode decides which frames are encoded together.
        identity: how files are identified; None takes their path for it, which is enough to count them.
        rank: which part of the media is wanted,
        world: of how many.
        factor: frames that the host merges into one time step.
        marks: who sees what is drawn on pictures, as ``Vega3DConfig.marks`` has it.
    """

    settings: Any
    identity: IdentityPolicy | None = "content"
    rank: int = 0
    world: int = 1
    factor: int = 2
    marks: MarksSeen = "host"

    def of(self, rows: Iterable[Row | Vega3DError]) -> Iterator[list[Job | Problem]]:
        """For each row its jobs, in order; the same job may be needed by many rows.

        Args:
            rows: of ``read_rows``, or of ``tried_rows``, whose errors become problems.
        """
        rows = iter(rows)
        with ThreadPoolExecutor(THREADS) as pool:
            while part := list(islice(rows, AT_ONCE)):
                yield from pool.map(self.of_row, part)

    def of_row(self, row: Row | Vega3DError) -> list[Job | Problem]:
        """The jobs of one row, or why it is none."""
        if isinstance(row, Vega3DError):
            return [Problem("annotations", row)]
        found: list[Job | Problem] = []
        for group in row.groups:
            found += self._guarded(row.where, self._of_pictures, [row.images[at] for at in group])
        for request in row.videos:
            found += self._guarded(row.where, self._of_video, request)
        return found

    def _guarded(
        self, where: str, find: Callable[[Any], Sequence[Job]], media: Any
    ) -> Sequence[Job | Problem]:
        try:
            return find(media)
        except Vega3DError as error:
            return [Problem(where, error)]

    def _of_video(self, request: VideoRequest) -> list[Job]:
        clip = plan_clip(request, lambda host: frame_plan(self.settings, host), self.factor)
        if clip.pictures is not None:
            return self._of_files(clip.plan, [(file, ()) for file in clip.pictures], clip.size)
        if isinstance(clip.source, Tensor) or not isinstance(request.source, str):
            raise _in_memory(clip)
        source, own = request.source, self._own(request.source, len(clip.plan.runs))
        if not own:
            return []
        media = source if self.identity is None else identify(source, self.identity)
        keys = video_keys(clip.plan, media, clip.size)
        return [Job(keys[number], "video", (source,)) for number in own]

    def _of_pictures(self, requests: Sequence[ImageRequest]) -> list[Job]:
        sources = [request.source for request in requests]
        if not all(isinstance(source, str) for source in sources):
            raise InputError(
                "A picture in memory has no place to be read again.",
                got=", ".join(sorted({type(source).__name__ for source in sources})),
                expected="paths or addresses",
                fix="save the pictures as files",
            )
        size = image_size(sources[0])
        plan = frame_plan(self.settings, range(len(sources)))
        pictures = [(one.source, one.marks if self.marks == "both" else ()) for one in requests]
        return self._of_files(plan, pictures, size)

    def _of_files(self, plan: FramePlan, pictures: Sequence[tuple[str, Marks]], size: Size) -> list[Job]:
        found = []
        for run in plan.runs:
            own = [pictures[plan.generative[at]] for at in run]
            if not self._own(own[0][0], 1):
                continue
            media = [identify_drawn(self._identity(file), marks) for file, marks in own]
            places = tuple(range(len(own)))
            key = picture_keys(FramePlan((0,), places, (places,), (places,)), media, size)[0]
            first = dict(reversed(list(zip(media, own, strict=True))))  # the first file of each content
            files, marks = zip(*(first[one] for one in dict.fromkeys(media)), strict=True)
            found.append(Job(key, "pictures", files, marks if any(marks) else ()))
        return found

    def _identity(self, file: str) -> str:
        return file if self.identity is None else identify(file, self.identity)

    def _own(self, file: str, runs: int) -> list[int]:
        """Which runs of a file are this rank's: by its name, so that nobody has to read the others' files.

        A file with many runs is shared out in blocks.
        """
        first = zlib.crc32(os.fsencode(file))
        return [number for number in range(runs) if (first + number // BLOCK) % self.world == self.rank]


def decode(jobs: Sequence[Job]) -> list[Tensor | Vega3DError]:
    """The frames (t, 3, H, W) of each job, or why there are none; a video is opened once for all its jobs."""
    videos: dict[str, set[int]] = {}
    for job in jobs:
        if job.kind == "video":
            videos.setdefault(job.files[0], set()).update(job.key.frames)
    decoded = {file: _tried(_read_video, file, sorted(frames)) for file, frames in videos.items()}
    return [_frames_of(job, decoded) for job in jobs]


def _frames_of(job: Job, decoded: dict[str, dict[int, Tensor] | Vega3DError]) -> Tensor | Vega3DError:
    if job.kind == "pictures":
        frames: Tensor | Vega3DError = _tried(_read_pictures, job)
        return frames
    found = decoded[job.files[0]]
    if isinstance(found, Vega3DError):
        alone = _tried(_read_video, job.files[0], job.key.frames)  # another job's frame may be the broken one
        return alone if isinstance(alone, Vega3DError) else torch.stack([alone[at] for at in job.key.frames])
    return torch.stack([found[at] for at in job.key.frames])


def _tried(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except Vega3DError as error:
        return error


def _read_video(file: str, frames: Sequence[int]) -> dict[int, Tensor]:
    wanted = sorted(set(frames))
    return dict(zip(wanted, read_frames(open_source(file), wanted), strict=True))


def _read_pictures(job: Job) -> Tensor:
    marks = job.marks or ((),) * len(job.files)
    pictures = [draw(load_image(file), own) for file, own in zip(job.files, marks, strict=True)]
    return stack_frames([pictures[at] for at in job.key.frames], job.files[0])


def _in_memory(clip: Clip) -> InputError:
    return InputError(
        f"{clip.name} has no place to be read again.",
        got="frames in memory",
        expected="a path or an address",
        fix="save it as a file",
    )
