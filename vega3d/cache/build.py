"""Compute the features that a store lacks; resumable at any moment, on any number of processes.

Every batch is on disk before the next one begins, so a killed build loses one batch. A build resumes from the
store itself: stored runs are not computed again. Each build begins at a random position, so that the same
batch is not lost twice in a row. Several builds of one store share the work. A run that another build has
claimed is left for later, when it is stored or its build has ended.
Frames are decoded ahead in threads while the generator works.

Annotations and the shape of features are outside of this module.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from torch import Tensor

from vega3d._utils.progress import Progress, no_progress
from vega3d.backbones import Backbone
from vega3d.cache.claims import Claims
from vega3d.cache.jobs import EncodeJob, Problem, decode
from vega3d.errors import Vega3DError
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.store.writer import StoreWriter

BATCH_FRAMES = 16
AHEAD = 2  # batches decoded while one is computed
POLL = 0.5  # seconds between two checks of the claims of other builds

Decoded = Sequence[Tensor | Vega3DError]


@dataclass
class Report:
    """Result of a build.

    Attributes:
        computed: number of runs that were computed and stored.
        held: number of runs that the store already held, or that another build stored meanwhile.
        problems: media that could not be decoded, with their errors.
    """

    computed: int = 0
    held: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Number of jobs that need no more work."""
        return self.computed + self.held + len(self.problems)


def build(
    store: FeatureStore,
    backbone: Backbone,
    jobs: Iterable[EncodeJob],
    *,
    batch_frames: int = BATCH_FRAMES,
    provenance: Mapping[str, str] | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Compute and store every job that the store does not hold.

    Args:
        store: store that the features are added to.
        backbone: generator that the store belongs to.
        jobs: required runs; repeats cost nothing.
        batch_frames: number of frames that are decoded and computed together.
        provenance: device and versions, written into each shard.
        progress: called with the number of finished jobs and the number of all jobs.

    Raises:
        StoreError: the store belongs to another generator, or cannot be written; stored features stay intact.
    """
    store.require_fingerprint(backbone.fingerprint(), backbone_record(backbone.spec.config))
    report = Report()
    todo = list(_missing(store, jobs, report))
    total = report.done + len(todo)
    progress(report.done, total)
    first = random.SystemRandom().randrange(len(todo)) if todo else 0
    todo = todo[first:] + todo[:first]
    with Claims(store.path) as claims, store.writer(provenance=provenance) as writer:
        while todo:
            taken = claims.taken()
            later = [job for job in todo if job.key.digest in taken]
            free = [job for job in todo if job.key.digest not in taken]
            for batch, decoded in _ahead(_batches(free, batch_frames)):
                with claims.claiming([job.key.digest for job in batch]) as ours:
                    usable = _usable(store, batch, decoded, ours, report)
                    _compute(backbone, usable, writer)
                report.computed += len(usable)
                later += [job for job in batch if job.key.digest not in ours]
                progress(report.done, total)
            if len(later) == len(todo):  # nothing to do but wait; not in step with others who wait
                time.sleep(random.uniform(0.5, 1.0) * POLL)
            todo = list(_missing(store, later, report))
            progress(report.done, total)
    return report


def _compute(backbone: Backbone, usable: Sequence[tuple[EncodeJob, Tensor]], writer: StoreWriter) -> None:
    """Compute jobs together and write them as one shard."""
    if not usable:
        return
    maps = backbone([frames for _, frames in usable], [job.plan() for job, _ in usable])
    for (job, _), feature_map in zip(usable, maps, strict=True):
        marks = [[mark.to_dict() for mark in drawn] for drawn in job.marks]
        writer.add(job.key, feature_map, job.files, job.kind, marks)
    writer.flush()


def _usable(
    store: FeatureStore,
    batch: Sequence[EncodeJob],
    decoded: Sequence[Tensor | Vega3DError],
    ours: Collection[str],
    report: Report,
) -> list[tuple[EncodeJob, Tensor]]:
    """Claimed jobs with their frames, without broken ones and those that another build has stored.

    The store is read after the claims: a build gives a claim up when the features are stored.
    """
    held, usable = store.digests(), []
    for job, frames in zip(batch, decoded, strict=True):
        if job.key.digest not in ours:
            continue
        if job.key.digest in held:
            report.held += 1
        elif isinstance(frames, Vega3DError):
            report.problems.append(Problem(job.files[0], frames))
        else:
            usable.append((job, frames))
    return usable


def _missing(store: FeatureStore, jobs: Iterable[EncodeJob], report: Report) -> Iterator[EncodeJob]:
    held, seen = frozenset(store.digests()), set()
    for job in jobs:
        if job.key.digest in seen:
            continue
        seen.add(job.key.digest)
        if job.key.digest in held:
            report.held += 1
        else:
            yield job


def _batches(jobs: Iterable[EncodeJob], frames: int) -> Iterator[list[EncodeJob]]:
    """Jobs of one size and length together, in the order of their first one."""
    batch: list[EncodeJob] = []
    for job in jobs:
        if batch and (_shape(job) != _shape(batch[0]) or len(batch) * len(job.key.frames) >= frames):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _shape(job: EncodeJob) -> tuple[object, ...]:
    return job.key.size, len(job.key.frames)


def _ahead(batches: Iterator[list[EncodeJob]]) -> Iterator[tuple[list[EncodeJob], Decoded]]:
    """Batches with their frames, decoded while earlier batches are computed."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[tuple[list[EncodeJob], Future[list[Tensor | Vega3DError]]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(decode, batch)))
            if len(waiting) > AHEAD:
                first, decoded = waiting.popleft()
                yield first, decoded.result()
        while waiting:
            first, decoded = waiting.popleft()
            yield first, decoded.result()
