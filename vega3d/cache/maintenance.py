"""Maintain a store: find damaged and stale features, drop unneeded ones, count how often frames are shared.

A feature is *damaged* if its bytes are not what was written, *stale* if the file that it came from has other
contents now. A stale feature is never served for the new contents, which have another address; it only takes
room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vega3d.cache.jobs import EncodeJob
from vega3d.errors import MediaNotFoundError
from vega3d.media.overlays import Marks, identify_drawn, parse_marks
from vega3d.store import FeatureStore
from vega3d.store.feature_store import Damage
from vega3d.store.keys import FeatureKey, IdentityPolicy, identify, identify_set
from vega3d.store.shards import Found, provenance_line


def check(store: FeatureStore, *, media: bool = True) -> Iterator[Damage | Found]:
    """Check every stored run; yields the run, or its damage.

    Args:
        store: store to check; all of its bytes are read.
        media: also compare the source files with the features; a missing file is not a damage.
    """
    for entry in store.verify():
        if media and isinstance(entry, Found) and entry.info["files"]:
            now = identity_now(entry.info["files"], store.identity, _marks(entry.info))
            if now not in (None, entry.info["key"]["media"]):
                yield Damage(entry.file, f"{entry.source} has changed since", entry.digest, entry.info)
                continue
        yield entry


def identity_now(files: Sequence[str], policy: IdentityPolicy, marks: Sequence[Marks] = ()) -> str | None:
    """Current identity of media files; None if a file is missing or is an address."""
    if any("://" in file or file.startswith("data:") for file in files):
        return None
    try:
        pairs = zip(files, marks or ((),) * len(files), strict=True)
        return identify_set([identify_drawn(identify(file, policy), drawn) for file, drawn in pairs])
    except MediaNotFoundError:
        return None


def lost_jobs(damages: Iterable[Damage], policy: IdentityPolicy) -> list[EncodeJob]:
    """Jobs of damaged runs whose description is intact and whose files are unchanged."""
    jobs = []
    for damage in damages:
        if damage.digest is not None and damage.info.get("files"):
            key = FeatureKey.from_dict(damage.info["key"])
            job = EncodeJob(key, damage.info["kind"], tuple(damage.info["files"]), _marks(damage.info))
            if identity_now(job.files, policy, job.marks) == key.media:
                jobs.append(job)
    return jobs


def drop(store: FeatureStore, damages: Collection[Damage]) -> None:
    """Remove damaged and stale runs; other runs of the same shards are kept."""
    gone: dict[Path, set[str | None]] = {}
    for damage in damages:
        gone.setdefault(damage.file, set()).add(damage.digest)
    for file, digests in gone.items():
        store.remove(file, digests)


def collect(store: FeatureStore, needed: Collection[str], *, dry_run: bool = False) -> tuple[int, int]:
    """Drop every run that is not needed; returns their number and their bytes.

    Args:
        store: store to clean.
        needed: addresses to keep.
        dry_run: count only, drop nothing.
    """
    unneeded = [entry for entry in store.entries() if entry.digest not in needed]
    digests = {entry.digest for entry in unneeded}
    for file in {entry.file for entry in unneeded} if not dry_run else ():
        store.remove(file, digests)
    return len(unneeded), sum(entry.size for entry in unneeded)


@dataclass
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

    runs: int = 0
    frames: int = 0
    bytes: int = 0
    media: int = 0
    shards: int = 0
    provenance: Counter[str] = field(default_factory=Counter)
    references: int = 0
    needed: int = 0
    covered: int = 0

    @property
    def sharing(self) -> float:
        """Mean number of references to a needed run."""
        return self.references / self.needed if self.needed else 0.0


def statistics(store: FeatureStore, asked: Iterable[str] = ()) -> Statistics:
    """Count the contents of a store, and the needed runs among them.

    Args:
        store: store to count; only headers are read.
        asked: needed addresses, repeats included.
    """
    result, media, described, files = Statistics(), set(), set(), set()
    for entry in store.entries():
        key = entry.info["key"]
        result.runs, result.bytes = result.runs + 1, result.bytes + entry.size
        media.add(key["media"])
        described |= {(key["media"], frame) for frame in key["frames"]}
        files.add(entry.file)
    result.media, result.frames, result.shards = len(media), len(described), len(files)
    for file in files:
        result.provenance[provenance_line(file)] += 1
    references = Counter(asked)
    result.references, result.needed = references.total(), len(references)
    result.covered = len(references.keys() & store.digests())
    return result


def _marks(info: Mapping[str, Any]) -> tuple[Marks, ...]:
    return tuple(parse_marks(drawn) for drawn in info.get("marks", ()))
