"""Looking after a store: what is damaged or out of date, what is needed, how often frames are shared.

A feature is *damaged* if its bytes are not what was written, *stale* if the file that it came from has other
contents now. A stale feature is never served for the new contents, which have another address; it only takes
room. This module knows neither annotations nor how features are computed.
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
from vega3d.store.shards import Found


def check(store: FeatureStore, *, media: bool = True) -> Iterator[Damage | Found]:
    """Every stored run, as it is found or as what is wrong with it.

    Args:
        store: all of its bytes are read.
        media: also compare the files that features came from; a file that is not there proves nothing.
    """
    for one in store.verify():
        if media and isinstance(one, Found) and one.info["files"]:
            now = identity_now(one.info["files"], store.identity, _marks(one.info))
            if now not in (None, one.info["key"]["media"]):
                yield Damage(one.file, f"{one.source} has changed since", one.digest, one.info)
                continue
        yield one


def identity_now(files: Sequence[str], policy: IdentityPolicy, marks: Sequence[Marks] = ()) -> str | None:
    """Identity of what lies under these names now; None if a file is not there, or is an address."""
    if any("://" in file or file.startswith("data:") for file in files):
        return None
    try:
        pairs = zip(files, marks or ((),) * len(files), strict=True)
        return identify_set([identify_drawn(identify(file, policy), own) for file, own in pairs])
    except MediaNotFoundError:
        return None


def lost_jobs(damages: Iterable[Damage], policy: IdentityPolicy) -> list[EncodeJob]:
    """What can be computed again: its shard still says what it was, its files still are what they were."""
    found = []
    for damage in damages:
        if damage.digest is not None and damage.info.get("files"):
            key = FeatureKey.from_dict(damage.info["key"])
            job = EncodeJob(key, damage.info["kind"], tuple(damage.info["files"]), _marks(damage.info))
            if identity_now(job.files, policy, job.marks) == key.media:
                found.append(job)
    return found


def drop(store: FeatureStore, damages: Collection[Damage]) -> None:
    """Remove what is damaged or stale; what else stands in the same shards is kept."""
    gone: dict[Path, set[str | None]] = {}
    for damage in damages:
        gone.setdefault(damage.file, set()).add(damage.digest)
    for file, digests in gone.items():
        held = {} if None in digests else {found.digest: found for found in store.entries_of(file)}
        store.keep(file, held.keys() - digests)


def collect(store: FeatureStore, needed: Collection[str], *, dry_run: bool = False) -> tuple[int, int]:
    """Drop every run that is not needed; returns how many and their bytes.

    Args:
        store: to clean.
        needed: addresses to keep.
        dry_run: only count.
    """
    runs, size, files = 0, 0, set()
    for found in store.entries():
        if found.digest not in needed:
            runs, size = runs + 1, size + found.size
            files.add(found.file)
    for file in files if not dry_run else ():
        store.keep(file, needed)
    return runs, size


@dataclass
class Statistics:
    """What a store holds.

    Attributes:
        runs: stored runs.
        frames: frames of media that they describe.
        bytes: of their tensors.
        media: distinct media.
        shards: files.
        provenance: device and versions of each shard, counted.
        references: runs that annotations ask for, repeats included,
        needed: how many of them are different,
        covered: and how many of those are stored.
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
        """How often a stored run is asked for, on average."""
        return self.references / self.needed if self.needed else 0.0


def statistics(store: FeatureStore, asked: Iterable[str] = ()) -> Statistics:
    """Count what a store holds, and how much of what is asked for.

    Args:
        store: whose headers are read.
        asked: addresses, repeats included.
    """
    result, media, described, files = Statistics(), set(), set(), set()
    for found in store.entries():
        key = found.info["key"]
        result.runs, result.bytes = result.runs + 1, result.bytes + found.size
        media.add(key["media"])
        described |= {(key["media"], frame) for frame in key["frames"]}
        files.add(found.file)
    result.media, result.frames, result.shards = len(media), len(described), len(files)
    for file in files:
        result.provenance[store.provenance_of(file)] += 1
    references = Counter(asked)
    result.references, result.needed = references.total(), len(references)
    result.covered = len(references.keys() & store.digests())
    return result


def _marks(info: Mapping[str, Any]) -> tuple[Marks, ...]:
    return tuple(parse_marks(own) for own in info.get("marks", ()))
