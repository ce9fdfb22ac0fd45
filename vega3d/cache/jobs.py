"""From rows of annotations to jobs: which runs of which media a store has to hold.

A job is one run, the frames that a generator encodes together: a single frame in mode ``frame``. Of videos
only the header is read, of pictures the size, of both the bytes for their identity. Keys are made by the same
function with which a processor looks features up.
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

from vega3d.config import MarksSeen
from vega3d.data.annotations import Row
from vega3d.errors import InputError, Vega3DError
from vega3d.inputs.messages import ImageRequest, VideoRequest
from vega3d.inputs.source import ClipSource, plan_images, plan_video
from vega3d.media.decoding import read_frames, stack_frames
from vega3d.media.frame_plan import FramePlan, frame_plan
from vega3d.media.image import load_image, open_source
from vega3d.media.overlays import Marks, draw
from vega3d.store.keys import FeatureKey, IdentityPolicy

Kind = Literal["video", "pictures"]

THREADS = 8  # reading headers and hashing files waits for the disk
AT_ONCE = 256  # rows
BLOCK = 32  # runs of one file that stay on one rank


@dataclass(frozen=True)
class EncodeJob:
    """One run to compute.

    Attributes:
        key: its address.
        kind: one video, or single pictures.
        files: the video, or the pictures that the key's frame numbers count.
        marks: what the generator sees drawn on each of the pictures; empty for nothing on any.
    """

    key: FeatureKey
    kind: Kind
    files: tuple[str, ...]
    marks: tuple[Marks, ...] = ()

    def plan(self) -> FramePlan:
        """The run alone, as a clip of its own."""
        positions = tuple(range(len(self.key.frames)))
        return FramePlan((0,), positions, (positions,), (positions,))


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
class JobPlanner:
    """Plans the jobs that rows need.

    Attributes:
        settings: of the generator; its mode decides which frames are encoded together.
        identity: how files are identified; None takes their path for it, which is enough to count them.
        rank: index of this process.
        world: number of processes, which share the media out.
        factor: frames that the host merges into one time step.
        marks: who sees what is drawn on pictures, as ``Vega3DConfig.marks`` has it.
    """

    settings: Any
    identity: IdentityPolicy | None = "content"
    rank: int = 0
    world: int = 1
    factor: int = 2
    marks: MarksSeen = "host"

    def of(self, rows: Iterable[Row | Vega3DError]) -> Iterator[list[EncodeJob | Problem]]:
        """For each row its jobs, in order; the same job may be needed by many rows.

        Args:
            rows: of ``read_rows``, or of ``tried_rows``, whose errors become problems.
        """
        rows = iter(rows)
        with ThreadPoolExecutor(THREADS) as pool:
            while part := list(islice(rows, AT_ONCE)):
                yield from pool.map(self.of_row, part)

    def of_row(self, row: Row | Vega3DError) -> list[EncodeJob | Problem]:
        """The jobs of one row, or why it is none."""
        if isinstance(row, Vega3DError):
            return [Problem("annotations", row)]
        images = [[row.images[index] for index in group] for group in row.groups]
        found: list[EncodeJob | Problem] = []
        media: list[tuple[Callable[[Any], ClipSource], Any]] = [
            *((self._plan_images, group) for group in images),
            *((self._plan_video, video) for video in row.videos),
        ]
        for plan, requests in media:
            try:
                found += self._jobs(plan(requests))
            except Vega3DError as error:
                found.append(Problem(row.where, error))
        return found

    def _plan_images(self, requests: Sequence[ImageRequest]) -> ClipSource:
        return plan_images(requests, self._plan, drawn=self.marks == "both")

    def _plan_video(self, request: VideoRequest) -> ClipSource:
        return plan_video(request, self._plan, self.factor)

    def _plan(self, host: Sequence[int]) -> FramePlan:
        return frame_plan(self.settings, host)

    def _jobs(self, source: ClipSource) -> list[EncodeJob]:
        """The jobs of one clip that are this rank's."""
        runs = [source.frames_of(run) for run in source.plan.runs]
        if source.pictures is None:
            if source.address is None:
                raise _in_memory(source)
            ours = [number for number in range(len(runs)) if self._is_ours(source.address, number)]
            return [EncodeJob(key, "video", (source.address,)) for key in source.keys(self.identity, ours)]
        pictures = list(source.pictures)
        if not all(isinstance(picture, str) for picture in pictures):
            raise _in_memory(source)
        ours = [number for number, frames in enumerate(runs) if self._is_ours(str(pictures[frames[0]]))]
        jobs = []
        for number, key in zip(ours, source.keys(self.identity, ours), strict=True):
            # the key counts distinct contents: the first frame of each stands for all
            first = dict(reversed(list(zip(key.frames, runs[number], strict=True))))
            chosen = [first[content] for content in range(len(first))]
            marks = tuple(source.marks[at] for at in chosen) if source.marks else ()
            files = tuple(str(pictures[at]) for at in chosen)
            jobs.append(EncodeJob(key, "pictures", files, marks if any(marks) else ()))
        return jobs

    def _is_ours(self, file: str, run: int = 0) -> bool:
        """True if a run is this rank's: by the file's name, so that nobody has to read the others' files.

        A file with many runs is shared out in blocks.
        """
        return (zlib.crc32(os.fsencode(file)) + run // BLOCK) % self.world == self.rank


def decode(jobs: Sequence[EncodeJob]) -> list[Tensor | Vega3DError]:
    """The frames (t, 3, H, W) of each job, or why there are none; a video is opened once for all its jobs."""
    videos: dict[str, set[int]] = {}
    for job in jobs:
        if job.kind == "video":
            videos.setdefault(job.files[0], set()).update(job.key.frames)
    decoded = {file: _tried(_read_video, file, sorted(frames)) for file, frames in videos.items()}
    return [_frames_of(job, decoded) for job in jobs]


def _frames_of(job: EncodeJob, decoded: dict[str, dict[int, Tensor] | Vega3DError]) -> Tensor | Vega3DError:
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


def _read_pictures(job: EncodeJob) -> Tensor:
    marks = job.marks or ((),) * len(job.files)
    pictures = [draw(load_image(file), own) for file, own in zip(job.files, marks, strict=True)]
    return stack_frames([pictures[at] for at in job.key.frames], job.files[0])


def _in_memory(source: ClipSource) -> InputError:
    return InputError(
        f"Invalid source {source.name}: it cannot be read again.",
        got="pixels in memory",
        expected="paths or addresses",
        fix="save it as a file",
    )
