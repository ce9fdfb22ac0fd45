"""Compute the features that a store lacks; resumable at any moment, on any number of processes.

Every batch is on disk before the next one begins, so a killed build loses one batch. A build resumes from the
store itself: stored runs are not computed again. Work begins at a random position, so that the same batch is
not lost twice in a row. Frames are decoded ahead in threads while the generator works.

Several builds of one store share the work. Each keeps one small file in the store that claims the runs of its
batch. A run that another build has claimed is left for later, when it is stored or its build has ended.
Claims are advice: without them a run is computed twice, which costs time and changes nothing. So there is no
lock that a killed build could leave behind. A claim ends with its process on the same machine, and with
``patience`` on another one.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from vega3d._utils.files import is_abandoned, part_of
from vega3d._utils.progress import Progress, no_progress
from vega3d.backbones import Backbone
from vega3d.cache.jobs import EncodeJob, Problem, decode
from vega3d.errors import Vega3DError
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.store.shards import StoreWriter

BATCH_FRAMES = 16
AHEAD = 2  # batches decoded while one is computed
POLL = 0.5  # seconds between two checks of the claims of other builds
PATIENCE = 30.0  # seconds that a claim holds at least
BATCHES = 3.0  # and as many times the longest batch of this build

Decoded = list[Tensor | Vega3DError]


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
        progress: called with the finished jobs, all jobs, and True if the store held the last ones.

    Raises:
        StoreError: the store belongs to another generator, or cannot be written; stored features stay intact.
    """
    store.require_fingerprint(backbone.fingerprint(), backbone_record(backbone.spec.config))
    report, total = Report(), 0
    with Claims(store.path) as claims, store.writer(provenance=provenance) as writer:
        while todo := _missing(store, jobs, report):
            total = total or report.done + len(todo)
            progress(report.done, total, True)
            taken = claims.taken()
            later = [job for job in todo if job.key.digest in taken]
            free = [job for job in todo if job.key.digest not in taken]
            for batch, decoded in _ahead(_batches(free, batch_frames)):
                with claims.claiming([job.key.digest for job in batch]) as ours:
                    usable = _usable(store, batch, decoded, ours, report)
                    if usable:
                        _compute(backbone, usable, writer)
                report.computed += len(usable)
                later += [job for job in batch if job.key.digest not in ours]
                progress(report.done, total, False)
            if len(later) == len(todo):  # nothing to do but wait; not in step with others who wait
                time.sleep(random.uniform(0.5, 1.0) * POLL)
            jobs = later
        progress(report.done, total or report.done, True)
    return report


def _compute(backbone: Backbone, usable: Sequence[tuple[EncodeJob, Tensor]], writer: StoreWriter) -> None:
    """Compute jobs together and write them as one shard."""
    maps = backbone([frames for _, frames in usable], [job.plan() for job, _ in usable])
    for (job, _), feature_map in zip(usable, maps, strict=True):
        marks = [[mark.to_dict() for mark in drawn] for drawn in job.marks]
        writer.add(job.key, feature_map, job.files, job.kind, marks)
    writer.flush()


class Claims:
    """The claim of one build, and those of others.

    Args:
        folder: folder of the store.
        patience: seconds that the claim of another build is valid; longer if batches take long.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self.folder, self.patience = folder, patience
        # Named as a half-written file: what a killed build leaves is swept up as those are.
        self.file = part_of(folder / "claim")

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def claiming(self, digests: Collection[str]) -> Iterator[Set[str]]:
        """Claim runs while the block computes them; yields those that no other build has claimed."""
        start = time.monotonic()
        free = {*digests} - self.taken()
        self._write(free)
        # Of two builds that claim at the same moment, the second one to write sees the other here. If both
        # see each other, both give way and try again later.
        if lost := free & self.taken():
            free -= lost
            self._write(free)
        try:
            yield free
        finally:
            self._write(())
            self.patience = max(self.patience, BATCHES * (time.monotonic() - start))

    def taken(self) -> set[str]:
        """Runs that other builds have claimed."""
        claimed: set[str] = set()
        for file in self.folder.glob(".claim.*.part"):
            with contextlib.suppress(OSError):  # its build has ended
                if file != self.file and not is_abandoned(file, older=self.patience):
                    claimed.update(file.read_text(encoding="utf-8").split())
        return claimed

    def _write(self, digests: Collection[str]) -> None:
        with contextlib.suppress(OSError):  # a full disk is reported by what has to be written
            self.file.write_text("\n".join(digests), encoding="utf-8")


def _usable(
    store: FeatureStore, batch: Sequence[EncodeJob], decoded: Decoded, ours: Collection[str], report: Report
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


def _missing(store: FeatureStore, jobs: Iterable[EncodeJob], report: Report) -> list[EncodeJob]:
    """Distinct jobs that the store does not hold, from a random one on."""
    held, distinct = store.digests(), {job.key.digest: job for job in jobs}
    report.held += len(distinct.keys() & held)
    missing = [job for digest, job in distinct.items() if digest not in held]
    first = random.SystemRandom().randrange(len(missing)) if missing else 0
    return missing[first:] + missing[:first]


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
        waiting: deque[tuple[list[EncodeJob], Future[Decoded]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(decode, batch)))
            if len(waiting) > AHEAD:
                first, decoded = waiting.popleft()
                yield first, decoded.result()
        for last, decoded in waiting:
            yield last, decoded.result()
