"""One shard: a safetensors file with the features of some runs and a description of each.

The header holds, for every run, its address, its meaning and a checksum of its bytes. A shard is written
beside its place and renamed into it, and never changed. Reading checks the sum of what was read: a flipped
bit is an error, not a feature.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import xxhash
from safetensors.torch import save_file
from torch import Tensor

from vega3d._utils import files
from vega3d._version import __version__
from vega3d.errors import StoreError
from vega3d.grid import FeatureMap
from vega3d.store.format import FeatureKey

if TYPE_CHECKING:
    from vega3d.store.feature_store import FeatureStore

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "I8": torch.int8}
CHUNK = 1 << 18  # bytes read and summed at a time: they are still in the processor's cache
MAX_HEADER = 1 << 28
SHARD_BYTES = 256 << 20  # a writer makes a shard of so many
MANY_SHARDS = 64  # of one writer: then the small ones are joined


@dataclass(frozen=True)
class Entry:
    """One run to write."""

    digest: str
    tensors: Mapping[str, Tensor]
    info: Mapping[str, Any]


@dataclass(frozen=True)
class Placed:
    """Position of one tensor in a shard: its bytes ``start`` to ``end``, and their checksum."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int
    sum: str


@dataclass(frozen=True)
class Found:
    """One run in the header of a shard.

    Attributes:
        file: path of the shard.
        digest: address of the run.
        info: description of the run.
        tensors: positions of its tensors, by name.
    """

    file: Path
    digest: str
    info: dict[str, Any]
    tensors: dict[str, Placed] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Name of the run's media, for messages."""
        files = self.info.get("files") or [self.digest]
        return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"

    @property
    def size(self) -> int:
        """Size of the run's tensors in bytes."""
        return sum(tensor.end - tensor.start for tensor in self.tensors.values())


def write(file: Path, entries: Sequence[Entry], provenance: Mapping[str, str]) -> Path:
    """Write one shard, completely or not at all."""
    tensors = {f"{e.digest}.{name}": tensor for e in entries for name, tensor in e.tensors.items()}
    metadata = {**provenance, **{entry.digest: _described(entry) for entry in entries}}
    return files.write_whole(file, lambda part: save_file(tensors, part, metadata=metadata), error=StoreError)


def _described(entry: Entry) -> str:
    """Description of a run with the checksums of its tensors, after the checksum of this text."""
    sums = {name: checksum(tensor) for name, tensor in entry.tensors.items()}
    shapes = {name: list(tensor.shape) for name, tensor in entry.tensors.items()}
    text = json.dumps({**entry.info, "sums": sums, "shapes": shapes})  # replaces those of an older shard
    return f"{_sum_of(entry.digest, text)} {text}"


def _understood(digest: str, described: str) -> dict[str, Any]:
    total, _, text = described.partition(" ")
    if total != _sum_of(digest, text):
        raise ValueError(f"the description of {digest} differs from what was written")
    return dict(json.loads(text))


def _sum_of(digest: str, text: str) -> str:
    return xxhash.xxh3_64_hexdigest(f"{digest} {text}".encode())


def checksum(tensor: Tensor) -> str:
    """xxh3 of a tensor's bytes, as hexadecimal digits."""
    return xxhash.xxh3_64_hexdigest(tensor.contiguous().view(torch.uint8).numpy().data)


class StoreWriter:
    """Adds features shard by shard; leaving the context writes the rest.

    Args:
        store: store that the features are added to.
        provenance: device and versions, written into each shard.
    """

    def __init__(self, store: FeatureStore, provenance: Mapping[str, str] | None = None) -> None:
        self.store = store
        self.provenance = {"vega3d": __version__, "torch": torch.__version__, **(provenance or {})}
        self._waiting: list[Entry] = []
        self._bytes = 0
        self._written: list[Path] = []

    def add(
        self,
        key: FeatureKey,
        feature_map: FeatureMap,
        files: Sequence[str] = (),
        kind: Literal["video", "pictures"] = "video",
        marks: Sequence[Sequence[Mapping[str, Any]]] = (),
    ) -> None:
        """Add the features of one run, in the store's form.

        Args:
            key: address of the run.
            feature_map: computed map of this run alone; ``frames`` are positions in the run.
            files: paths of the media, for messages and for ``repair``.
            kind: one video, or single pictures.
            marks: marks drawn on each picture, plain JSON types; empty if there are none.
        """
        reduced = self.store.form.reduce(feature_map)
        tensors = self.store.form.pack(reduced.features)
        info = {
            "key": key.to_dict(),
            "files": list(files),
            "kind": kind,
            "marks": [list(drawn) for drawn in marks],
            "steps": [list(step) for step in reduced.frames],
            "resampling": reduced.resampling,
        }
        self._waiting.append(Entry(key.digest, tensors, info))
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the collected features as one shard, so that a killed process does not lose them."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._written.append(write(self.store.new_shard(), waiting, self.provenance))
        if len(self._written) >= MANY_SHARDS:
            self.store.compact(self._written)
            self._written = []

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.flush()  # after an error too: what was computed is not lost


def read_header(file: Path) -> list[Found]:
    """Read the header of a shard; its tensors are not read.

    Raises:
        FileNotFoundError: the shard is gone (it was joined with others).
        StoreError: the header is cut off or invalid.
    """
    with _header_of(file) as (header, data):
        about, runs = header.pop("__metadata__", {}), dict[str, Found]()
        for full, tensor in header.items():
            digest, name = full.split(".")
            if digest not in runs:
                runs[digest] = Found(file, digest, _understood(digest, about[digest]))
            start, end = tensor["data_offsets"]
            shape, sums = tuple(tensor["shape"]), runs[digest].info["sums"]
            if list(shape) != runs[digest].info["shapes"][name]:
                raise ValueError(f"the shape of {full} differs from what was written")
            dtype = DTYPES[tensor["dtype"]]
            runs[digest].tensors[name] = Placed(dtype, shape, data + start, data + end, sums[name])
        return list(runs.values())


def provenance(file: Path) -> dict[str, str]:
    """Device and versions that a shard names."""
    with _header_of(file) as (header, _):
        about = header.get("__metadata__") or {}
        return {name: text for name, text in about.items() if f"{name}.values" not in header}


def provenance_line(file: Path) -> str:
    """``provenance`` as one line."""
    return ", ".join(f"{name} {text}" for name, text in sorted(provenance(file).items()))


@contextlib.contextmanager
def _header_of(file: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The header as it stands, and the offset of the first tensor byte; a fault in it is a StoreError."""
    try:
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            if not 0 < size < MAX_HEADER:
                raise ValueError(f"a header of {size} bytes")
            header = dict(json.loads(opened.read(size)))
        yield header, 8 + size
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(file, f"its header cannot be read ({type(error).__name__}: {error})") from error


def read(runs: Sequence[Found]) -> dict[str, Tensor]:
    """The tensors of runs, checked, one run after the other along the first axis.

    Bytes go straight to where they stay: a copy of a clip would cost as much as reading it.

    Raises:
        FileNotFoundError: a shard is gone (it was joined with others).
        StoreError: a file is cut off, or a byte differs from what was written.
    """
    steps = {name: sum(run.tensors[name].shape[0] for run in runs) for name in runs[0].tensors}
    whole = {
        name: _empty((steps[name], *placed.shape[1:]), placed.dtype)
        for name, placed in runs[0].tensors.items()
    }
    done = dict.fromkeys(whole, 0)
    for run in runs:
        with run.file.open("rb", buffering=0) as opened:
            for name, placed in run.tensors.items():
                first, done[name] = done[name], done[name] + placed.shape[0]
                _fill(whole[name][first : done[name]], opened, run, placed)
    return whole


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory from numpy, which asks for huge pages: reading is half as fast again without page faults."""
    raw = np.empty(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(raw).view(dtype).view(shape)


def _fill(tensor: Tensor, opened: FileIO, run: Found, placed: Placed) -> None:
    view, total = memoryview(tensor.view(-1).view(torch.uint8).numpy().data), xxhash.xxh3_64()
    if len(view) != placed.end - placed.start:
        raise damaged(run.file, f"{placed.end - placed.start} bytes for {tuple(placed.shape)}", run)
    opened.seek(placed.start)
    done = 0
    while done < len(view):
        part = view[done : done + CHUNK]
        count = opened.readinto(part)
        if not count:
            raise damaged(run.file, f"it ends {len(view) - done} bytes too early", run)
        total.update(part[:count])
        done += count
    if total.hexdigest() != placed.sum:
        raise damaged(run.file, "its bytes differ from what was written", run)


def damaged(file: Path, problem: str, run: Found | None = None) -> StoreError:
    """The error for a shard that cannot be trusted; names the media whose feature is lost."""
    whose = f", with features of {run.source}" if run else ""
    what, fix = f"Cannot read {file.name}: it is damaged{whose}.", f"vega3d cache repair {file.parent}"
    expected = "the bytes that were written; the feature is not used"
    return StoreError(what, got=problem, expected=expected, fix=fix)
