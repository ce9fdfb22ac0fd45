"""Maintain a store: find damaged and stale features, drop unneeded ones, count how often frames are shared.

A feature is *damaged* if its bytes are not what was written, *stale* if the file that it came from has other
contents now. A stale feature is never served for the new contents, which have another address; it only takes
room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vega3d.cache.jobs import EncodeJob
from vega3d.errors import MediaNotFoundError
from vega3d.media.overlays import identify_drawn, parse_marks
from vega3d.store import FeatureStore
from vega3d.store.feature_store import Damage
from vega3d.store.format import FeatureKey, IdentityPolicy, identify, identify_set
from vega3d.store.shards import Found, provenance_line


def check(store: FeatureStore, *, media: bool = True) -> Iterator[Damage | Found]:
    """Check every stored run; yields the run, or its damage.

    Args:
        store: store to check; all of its bytes are read.
        media: also compare the source files with the features; a missing file is not a damage.
    """
    for entry in store.verify():
        if media and isinstance(entry, Found) and entry.info["files"]:
            job = _job_of(entry.info)
            if identity_now(job, store.identity) not in (None, job.key.media):
                yield Damage(entry.file, f"{entry.source} has changed since", entry.digest, entry.info)
                continue
        yield entry


def identity_now(job: EncodeJob, policy: IdentityPolicy) -> str | None:
    """Current identity of a job's media files; None if a file is missing or is an address."""
    if any("://" in file or file.startswith("data:") for file in job.files):
        return None
    try:
        pairs = zip(job.files, job.marks or ((),) * len(job.files), strict=True)
        return identify_set([identify_drawn(identify(file, policy), drawn) for file, drawn in pairs])
    except MediaNotFoundError:
        return None


def lost_jobs(damages: Iterable[Damage], policy: IdentityPolicy) -> list[EncodeJob]:
    """Jobs of damaged runs whose description is intact and whose files are unchanged."""
    jobs = [_job_of(damage.info) for damage in damages if damage.info.get("files")]
    return [job for job in jobs if identity_now(job, policy) == job.key.media]


def _job_of(info: Mapping[str, Any]) -> EncodeJob:
    marks = tuple(parse_marks(drawn) for drawn in info.get("marks", ()))
    return EncodeJob(FeatureKey.from_dict(info["key"]), info["kind"], tuple(info["files"]), marks)


def drop(store: FeatureStore, damages: Collection[Damage]) -> None:
    """Remove damaged and stale runs; other runs of the same shards are kept."""
    gone: dict[Path, set[str | None]] = {}
    for damage in damages:
        gone.setdefault(damage.file, set()).add(damage.digest)
    for file, digests in gone.items():
        store.remove(file, digests)


def collect(store: FeatureStore, needed: Collection[str], *, dry_run: bool = False) -> tuple[int, int]:
    """Drop every run that is not needed; returns their number and their bytes."""
    unneeded = [entry for entry in store.entries() if entry.digest not in needed]
    digests = {entry.digest for entry in unneeded}
    for file in {entry.file for entry in unneeded} if not dry_run else ():
        store.remove(file, digests)
    return len(unneeded), sum(entry.size for entry in unneeded)


@dataclass(frozen=True)
class Statistics:
    """Counts of a store's contents.

    Attributes:
        runs: number of stored runs.
        frames: number of media frames that they describe.
        bytes: size of their tensors in bytes.
        media: number of distinct media.
        shards: number of shard files.
        provenance: number of shards for each device and versions.
        references: number of runs that annotations need, repeats included.
        needed: number of distinct runs that annotations need.
        covered: number of distinct needed runs that are stored.
    """

    runs: int
    frames: int
    bytes: int
    media: int
    shards: int
    provenance: Counter[str]
    references: int
    needed: int
    covered: int

    @property
    def sharing(self) -> float:
        """Mean number of references to a needed run."""
        return self.references / self.needed if self.needed else 0.0


def statistics(store: FeatureStore, asked: Iterable[str] = ()) -> Statistics:
    """Count the contents of a store, and the needed runs among them."""
    entries, references = list(store.entries()), Counter(asked)
    keys, files = [entry.info["key"] for entry in entries], {entry.file for entry in entries}
    return Statistics(
        runs=len(entries),
        frames=len({(key["media"], frame) for key in keys for frame in key["frames"]}),
        bytes=sum(entry.size for entry in entries),
        media=len({key["media"] for key in keys}),
        shards=len(files),
        provenance=Counter(map(provenance_line, files)),
        references=references.total(),
        needed=len(references),
        covered=len(references.keys() & store.digests()),
    )
