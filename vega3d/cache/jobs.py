"""Plan jobs from rows of annotations: the runs of media that a store has to hold.

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
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from vega3d.config import MarksSeen
from vega3d.data.annotations import Row
from vega3d.errors import InputError, Vega3DError
from vega3d.inputs.source import ClipSource, plan_images, plan_video
from vega3d.media.decoding import read_frames, stack_frames
from vega3d.media.frame_plan import FramePlan, frame_plan
from vega3d.media.image import load_image
from vega3d.media.overlays import Marks, draw
from vega3d.media.source import open_source
from vega3d.store.format import FeatureKey, IdentityPolicy

Kind = Literal["video", "pictures"]

THREADS = 8  # reading headers and hashing files waits for the disk
AT_ONCE = 256  # rows
BLOCK = 32  # runs of one file that stay on one rank


@dataclass(frozen=True)
class EncodeJob:
    """One run to compute.

    Attributes:
        key: address of the run.
        kind: one video, or single pictures.
        files: path of the video, or of the pictures that the key's frame numbers count.
        marks: marks that the generator gets drawn on each picture; empty if there are none.
    """

    key: FeatureKey
    kind: Kind
    files: tuple[str, ...]
    marks: tuple[Marks, ...] = ()

    def plan(self) -> FramePlan:
        """Frame plan of the run as a clip of its own."""
        positions = tuple(range(len(self.key.frames)))
        return FramePlan((0,), positions, (positions,), (positions,))


@dataclass(frozen=True)
class Problem:
    """A medium whose features cannot be stored."""

    where: str
    error: Vega3DError


@dataclass(frozen=True)
class JobPlanner:
    """Plans the jobs that rows need.

    Attributes:
        settings: settings of the generator; its mode decides which frames are encoded together.
        identity: policy by which files are identified; None uses their paths, enough to count runs.
        rank: index of this process, from 0.
        world: number of processes that share the media.
        factor: number of frames that the host merges into one time step.
        marks: sides that get the marks on pictures, as ``Vega3DConfig.marks``.
    """

    settings: Any
    identity: IdentityPolicy | None = "content"
    rank: int = 0
    world: int = 1
    factor: int = 2
    marks: MarksSeen = "host"

    def of(self, rows: Iterable[Row | Vega3DError]) -> Iterator[list[EncodeJob | Problem]]:
        """Plan the jobs of each row, in order; the same job may be needed by many rows."""
        rows = iter(rows)
        with ThreadPoolExecutor(THREADS) as pool:
            while part := list(islice(rows, AT_ONCE)):
                yield from pool.map(self.of_row, part)

    def of_row(self, row: Row | Vega3DError) -> list[EncodeJob | Problem]:
        """Jobs of one row, and its problems."""
        if isinstance(row, Vega3DError):
            return [Problem("annotations", row)]
        planned: list[EncodeJob | Problem] = []
        plan, drawn = partial(frame_plan, self.settings), self.marks == "both"
        images = [[row.images[index] for index in group] for group in row.groups]
        clips: list[Callable[[], ClipSource]] = [
            *(partial(plan_images, group, plan, drawn=drawn) for group in images),
            *(partial(plan_video, video, plan, self.factor) for video in row.videos),
        ]
        for clip in clips:
            try:
                planned += self._jobs(clip())
            except Vega3DError as error:
                planned.append(Problem(row.where, error))
        return planned

    def _jobs(self, source: ClipSource) -> list[EncodeJob]:
        """Jobs of one clip that belong to this rank."""
        runs, pictures = [source.frames_of(run) for run in source.plan.runs], source.pictures
        files: list[Any] = [source.address] if pictures is None else list(pictures)
        if not all(isinstance(file, str) for file in files):
            what, fix = f"Invalid source {source.name}: it cannot be read again.", "save it as a file"
            raise InputError(what, got="pixels in memory", expected="paths or addresses", fix=fix)
        if pictures is None:
            ours = [number for number in range(len(runs)) if self._is_ours(files[0], number)]
            return [EncodeJob(key, "video", (files[0],)) for key in source.keys(self.identity, ours)]
        ours = [number for number, frames in enumerate(runs) if self._is_ours(files[frames[0]])]
        jobs = []
        for number, key in zip(ours, source.keys(self.identity, ours), strict=True):
            # the key counts distinct contents: the first frame of each stands for all
            first = dict(reversed(list(zip(key.frames, runs[number], strict=True))))
            chosen = [first[content] for content in range(len(first))]
            marks = tuple(source.marks[index] for index in chosen) if source.marks else ()
            used = tuple(files[index] for index in chosen)
            jobs.append(EncodeJob(key, "pictures", used, marks if any(marks) else ()))
        return jobs

    def _is_ours(self, file: str, run: int = 0) -> bool:
        """True if a run belongs to this rank; the file's name decides, so other ranks' files are not read.

        A file with many runs is shared out in blocks.
        """
        return (zlib.crc32(os.fsencode(file)) + run // BLOCK) % self.world == self.rank


def decode(jobs: Sequence[EncodeJob]) -> list[Tensor | Vega3DError]:
    """Decode the frames (t, 3, H, W) of each job, or return its error; a video is opened once."""
    videos: dict[str, set[int]] = {}
    for job in jobs:
        if job.kind == "video":
            videos.setdefault(job.files[0], set()).update(job.key.frames)
    decoded = {file: _tried(_read_video, file, frames) for file, frames in videos.items()}
    return [_tried(_frames_of, job, decoded.get(job.files[0])) for job in jobs]


def _tried(read: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return read(*arguments)
    except Vega3DError as error:
        return error


def _read_video(file: str, frames: Iterable[int]) -> dict[int, Tensor]:
    wanted = sorted(set(frames))
    return dict(zip(wanted, read_frames(open_source(file), wanted), strict=True))


def _frames_of(job: EncodeJob, video: Any) -> Tensor:
    if job.kind == "pictures":
        marks = job.marks or ((),) * len(job.files)
        pictures = [draw(load_image(file), drawn) for file, drawn in zip(job.files, marks, strict=True)]
        return stack_frames([pictures[index] for index in job.key.frames], job.files[0])
    if isinstance(video, Vega3DError):  # another job's frame may be the broken one
        video = _read_video(job.files[0], job.key.frames)
    return torch.stack([video[number] for number in job.key.frames])
