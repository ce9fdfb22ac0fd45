"""FeatureStore: find, read and write stored features; verify, and drop what is damaged or not needed.

The store's identity (whose features, in which form) is written once. Shards have unique names and never
change, so a reader's index only grows; a shard that was merged away is noticed when it is opened. This
module takes keys and maps; media and generators are outside of it. A lookup for a clip gives its features,
or how live features are to be cast.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vega3d import registry
from vega3d._utils.files import sweep_parts
from vega3d.config import FREE
from vega3d.errors import StoreError
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan
from vega3d.store import shards
from vega3d.store.format import FeatureFormat, FeatureKey, IdentityPolicy, read_manifest, write_manifest
from vega3d.store.shards import SHARD_BYTES, StoreWriter

PATTERN = "*.safetensors"
SMALL_BYTES = SHARD_BYTES // 8  # smaller shards are joined


@dataclasses.dataclass(frozen=True)
class Damage:
    """Damage that ``verify`` reports.

    Attributes:
        file: path of the shard.
        problem: description of the damage.
        digest: address of the lost feature; None if the whole shard cannot be read.
        info: the run's entry in the shard's header, with its key and its files; empty if it is lost.
    """

    file: Path
    problem: str
    digest: str | None = None
    info: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class FeatureStore:
    """A folder of features of one generator in one form.

    Args:
        path: a folder made by ``create``.

    Raises:
        StoreError: there is no store, it is damaged, or of a newer format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        record = read_manifest(self.path)
        self.fingerprint: str = record["fingerprint"]
        self.backbone = registry.current_record(record["backbone"])
        self.form = FeatureFormat(**record["form"])
        self.identity: IdentityPolicy = record["identity"]
        self._index: dict[str, Path] = {}  # digest -> its shard
        self._seen: set[str] = set()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        fingerprint: str,
        backbone: Mapping[str, Any],
        form: FeatureFormat | None = None,
        identity: IdentityPolicy = "content",
    ) -> FeatureStore:
        """Create a store, or open an existing one of the same generator and form.

        Args:
            path: folder of the store; created if missing.
            fingerprint: fingerprint of the generator.
            backbone: settings of the generator, as in ``Vega3DConfig.to_dict()["backbone"]``.
            form: grid and precision; None takes the defaults of ``FeatureFormat``.
            identity: policy by which media files are identified.

        Raises:
            StoreError: the folder holds another store, or cannot be written.
        """
        form, folder = form or FeatureFormat(), Path(path)
        record = {"fingerprint": fingerprint, "backbone": dict(backbone), "identity": identity}
        write_manifest(folder, {**record, "form": dataclasses.asdict(form)})
        store = cls(folder)  # of two processes that make a store at once, one reads what the other wrote
        store.require_fingerprint(fingerprint, backbone)
        if (form, identity) != (store.form, store.identity):
            got, expected = f"{form}, identity {identity!r}", f"{store.form}, identity {store.identity!r}"
            what, fix = f"Invalid store {folder}: another form.", "open it as it is, or build another store"
            raise StoreError(what, got=got, expected=expected, fix=fix)
        return store

    # ---------------------------------------------------------------- whose features

    def require_fingerprint(self, fingerprint: str, backbone: Mapping[str, Any]) -> None:
        """Refuse another generator; the error names the settings that differ.

        Raises:
            StoreError: the fingerprints differ.
        """
        if fingerprint != self.fingerprint:
            raise self._foreign(backbone, self._differing(backbone, ()), fingerprint)

    def require_settings(self, backbone: Mapping[str, Any]) -> None:
        """Refuse settings under which the generator would compute other features; weights are not compared.

        Raises:
            StoreError: a setting differs.
        """
        if names := self._differing(backbone, {"type", *FREE}):
            raise self._foreign(backbone, names)

    def _differing(self, backbone: Mapping[str, Any], free: Collection[str]) -> list[str]:
        plain = json.loads(json.dumps(dict(backbone)))  # tuples become lists, as in the file
        names = {*plain, *self.backbone} - {*free, "path", "revision"}
        return sorted(name for name in names if plain.get(name) != self.backbone.get(name))

    def _foreign(self, backbone: Mapping[str, Any], names: list[str], fingerprint: str = "") -> StoreError:
        got = ", ".join(f"{name}={backbone.get(name)!r}" for name in names)
        expected = ", ".join(f"{name}={self.backbone.get(name)!r}" for name in names)
        if not names:
            other = "the same settings, but other weights, another prompt, micro-batch or version"
            got, expected = f"fingerprint {fingerprint[:12]}", f"fingerprint {self.fingerprint[:12]}: {other}"
        what = f"Invalid store {self.path}: it holds features of another generator."
        fix = "use the generator and settings that it was built with, or build another store"
        return StoreError(what, got=got, expected=expected, fix=fix)

    # ---------------------------------------------------------------- reading

    def __contains__(self, key: FeatureKey) -> bool:
        return self._file_of(key.digest) is not None

    def __len__(self) -> int:
        return len(self.digests())

    def digests(self) -> Set[str]:
        """Addresses of all features that are stored now."""
        self.refresh()
        return self._index.keys()

    def refresh(self) -> None:
        """Index the shards that other processes wrote since the last refresh."""
        while not self._look():  # a listed one is gone: what it held lies in one that may not be listed
            self._forget_all()

    def _look(self) -> bool:
        """Index new shards; False if one went away meanwhile."""
        for file in sorted(self.path.glob(PATTERN)):
            if file.name in self._seen:
                continue
            digests: Collection[str] = ()
            try:
                digests = _header(file)
            except StoreError:  # verify names it; its features count as missing
                pass
            except FileNotFoundError:
                if not file.is_symlink():  # not a link to nothing
                    return False
            self._seen.add(file.name)
            for digest in digests:
                self._index.setdefault(digest, file)
        return True

    def read(
        self, keys: Sequence[FeatureKey], runs: Sequence[Sequence[int]] | None = None
    ) -> FeatureMap | None:
        """The features of runs, one after the other in time, as (C, T, h, w); None if one is missing.

        Args:
            keys: of the runs of one clip.
            runs: for each run its frames, as positions in the clip; None counts them on from run to run.

        Raises:
            StoreError: a feature is damaged; it is never returned.
        """
        while True:
            files = [self._file_of(key.digest) for key in keys]
            try:
                entries = [_header(file)[key.digest] for key, file in zip(keys, files, strict=True) if file]
                if len(entries) < len(keys):
                    return None
                features = self.form.unpack(shards.read(entries))
                steps = tuple(
                    tuple(run[position] for position in step)
                    for entry, run in zip(entries, runs or _counted(keys), strict=True)
                    for step in entry.info["steps"]
                )
                return FeatureMap(features, steps, entries[0].info["resampling"])
            except FileNotFoundError:  # joined with others since the last look
                self._forget_all()

    def _file_of(self, digest: str) -> Path | None:
        if digest not in self._index:
            self.refresh()
        return self._index.get(digest)

    # ---------------------------------------------------------------- keeping

    def entries(self) -> Iterator[shards.Found]:
        """Every stored run, shard by shard; damaged shards are left out."""
        for file in sorted(self.path.glob(PATTERN)):
            with contextlib.suppress(StoreError, FileNotFoundError):
                yield from _header(file).values()

    def verify(self) -> Iterator[Damage | shards.Found]:
        """Read every run; yields the run, or its damage."""
        for file in sorted(self.path.glob(PATTERN)):
            try:
                for entry in shards.read_header(file):
                    try:
                        shards.read([entry])
                        yield entry
                    except StoreError as error:
                        yield Damage(file, str(error.got), entry.digest, entry.info)
            except StoreError as error:
                yield Damage(file, str(error.got))
            except FileNotFoundError:  # joined with others meanwhile
                continue

    def remove(self, file: Path, digests: Collection[str | None]) -> None:
        """Rewrite a shard without some of its runs, or remove it if none is left; crash-safe."""
        held: list[shards.Found] = []
        with contextlib.suppress(StoreError):
            held = shards.read_header(file)
        remaining = [entry for entry in held if entry.digest not in digests]
        if len(remaining) < len(held) or not held:
            self._replace([file], remaining)

    def compact(self, files: Collection[Path] | None = None) -> int:
        """Join small shards of one device and version into few, and sweep up what killed writers left.

        Args:
            files: which may be joined; None looks at all. Shards of others may be among them: at worst a
                feature is stored twice until the next time.

        Returns:
            How many shards are fewer.
        """
        alike: dict[str, dict[Path, int]] = {}
        for file in sorted(self.path.glob(PATTERN)):
            with contextlib.suppress(StoreError, FileNotFoundError):  # repair takes the damaged ones
                size = file.stat().st_size
                if (files is None or file in files) and size < SMALL_BYTES:
                    alike.setdefault(shards.provenance_line(file), {})[file] = size
        gone = sum(self._join(batch) for sizes in alike.values() for batch in _filled(sizes))
        sweep_parts(self.path)
        return gone

    def _join(self, files: list[Path]) -> int:
        with contextlib.suppress(StoreError, FileNotFoundError):  # another process may join them too
            held = {entry.digest: entry for file in files for entry in shards.read_header(file)}
            if len(files) > 1:
                self._replace(files, list(held.values()))
                return len(files) - 1
        return 0

    def _replace(self, files: list[Path], runs: list[shards.Found]) -> None:
        """Write one shard in place of several; it exists before the old ones are removed."""
        if runs:
            entries = [shards.Entry(run.digest, shards.read([run]), run.info) for run in runs]
            shards.write(self.new_shard(), entries, shards.provenance(runs[0].file))
        for file in files:
            file.unlink(missing_ok=True)
        self._forget_all()

    def _forget_all(self) -> None:
        self._index, self._seen = {}, set()

    def new_shard(self) -> Path:
        """A unique name; names sort by time."""
        return self.path / f"{time.time_ns():016x}-{uuid.uuid4().hex[:12]}.safetensors"

    def writer(self, provenance: Mapping[str, str] | None = None) -> StoreWriter:
        """Context manager that adds features; ``provenance`` is written into each shard."""
        return StoreWriter(self, provenance)


def _counted(keys: Sequence[FeatureKey]) -> list[range]:
    ends = list(itertools.accumulate((len(key.frames) for key in keys), initial=0))
    return [range(first, last) for first, last in itertools.pairwise(ends)]


@lru_cache(maxsize=512)
def _header(file: Path) -> dict[str, shards.Found]:
    """Headers of shards that were read lately; shards never change under a name."""
    return {entry.digest: entry for entry in shards.read_header(file)}


def _filled(sizes: Mapping[Path, int]) -> Iterator[list[Path]]:
    """Small shards, with their bytes, in batches that become one shard each."""
    batch: list[Path] = []
    for file, size in sizes.items():
        if sum(sizes[other] for other in batch) + size > SHARD_BYTES:
            yield batch
            batch = []
        batch.append(file)
    yield batch


class CacheHit:
    """Features of a clip that a store holds.

    It is no dataclass: mixed-precision wrappers (FSDP, DDP) descend into dataclasses and would cast what was
    stored.

    Attributes:
        feature_map: stored features of all runs.
        fingerprint: fingerprint of the store's generator.
        store: folder of the store.
    """

    def __init__(self, feature_map: FeatureMap, fingerprint: str, store: str) -> None:
        self.feature_map, self.fingerprint, self.store = feature_map, fingerprint, store


@dataclass(frozen=True)
class CacheMiss:
    """Cache miss of a clip.

    Attributes:
        format: form that live features are cast to, so that they equal stored ones.
        fingerprint: fingerprint of the store's generator.
        store: folder of the store.
        source: name of the media in messages.
        key: address of the first missing run.
    """

    format: FeatureFormat
    fingerprint: str
    store: str
    source: str
    key: FeatureKey


CacheLookup = CacheHit | CacheMiss | None
"""Result of a cache lookup for a clip; None if no store is used."""


def look_up(
    store: FeatureStore, plan: FramePlan, keys: Sequence[FeatureKey], source: str
) -> CacheHit | CacheMiss:
    """Look up the features of a clip; it is a hit if all of its runs are stored.

    Raises:
        StoreError: a feature is damaged.
    """
    features = store.read(keys, plan.runs)
    if features is not None:
        return CacheHit(features, store.fingerprint, str(store.path))
    missing = next((key for key in keys if key not in store), keys[0])
    return CacheMiss(store.form, store.fingerprint, str(store.path), source, missing)
