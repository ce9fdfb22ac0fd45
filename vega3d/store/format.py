"""Written form of a store: addresses of features, their grid and precision, and the manifest.

An address is made of the contents of media and not of their names. A frame that a hundred questions ask about
has one address. A file that was replaced by another has a new one, so an old feature is never found for it.
The generator and its settings are not part of the address: one store holds the features of one fingerprint.

``native`` keeps the generator's own grid, ``pooled`` k x k cells; both serve every host. Numbers are kept as
bfloat16, or as int8 with one scale a token. A live feature passes through the same cast, so a model gets the
same numbers whether they come from the store or from the generator. ``store.json`` names the generator of a
store and the form of its features; it is written once and never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vega3d._utils import files
from vega3d._version import __version__
from vega3d.errors import ConfigError, MediaNotFoundError, StoreError, unknown_choice
from vega3d.grid import FeatureMap, TokenGrid, resample

Grid = Literal["native", "pooled"]
GONE = ("patch", "merged")  # grids that only version 0.1 reads
Precision = Literal["float32", "bfloat16", "int8"]
Packed = dict[str, Tensor]
"""Tensors of one run: ``values`` (T, h, w, C), and under int8 ``scale`` (T, h, w)."""

REBUILD = "rebuild the store: vega3d cache build NEW_STORE ANNOTATIONS --backbone NAME --grid native"
MANIFEST = "store.json"
FORMAT = (1, 0)  # major, minor
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class FeatureFormat:
    """Form of stored features.

    Attributes:
        grid: ``native`` (the generator's own grid) or ``pooled`` (``cells`` x ``cells``).
        precision: ``bfloat16``, ``int8`` (one float32 scale a token), or ``float32`` for comparison.
        cells: number of cells on a side under ``pooled``; 1 or more.
    """

    grid: Grid = "native"
    precision: Precision = "bfloat16"
    cells: int = 14

    def __post_init__(self) -> None:
        if self.grid in GONE:
            what = f"Invalid grid {self.grid!r}: version 0.1 of vega3d is the last one that reads it."
            raise ConfigError(what, got=self.grid, expected=", ".join(get_args(Grid)), fix=REBUILD)
        for kind, value, choices in (("grid", self.grid, Grid), ("precision", self.precision, Precision)):
            if value not in get_args(choices):
                raise unknown_choice(kind, value, get_args(choices))
        if self.cells < 1:
            raise ConfigError("Invalid cells.", got=self.cells, expected="1 or more", fix="use 14")

    def reduce(self, feature_map: FeatureMap) -> FeatureMap:
        """The map on the stored grid."""
        if self.grid == "native":
            return feature_map
        side = self.cells
        steps = range(feature_map.features.shape[1])
        # each step on its own, as for a host with one frame a step
        alone = replace(feature_map, frames=tuple((step,) for step in steps))
        grid = TokenGrid(tuple((step,) for step in steps), side, side)
        pooled = resample(alone, grid, [(step,) for step in steps], 1)  # (T * side * side, 1, C)
        features = pooled.reshape(len(steps), side, side, -1).permute(3, 0, 1, 2)  # (C, T, side, side)
        return FeatureMap(features.contiguous(), feature_map.frames)

    def pack(self, features: Tensor) -> Packed:
        """(C, T, h, w) as it is written."""
        values = features.detach().float().cpu().permute(1, 2, 3, 0).contiguous()  # (T, h, w, C)
        if self.precision != "int8":
            return {"values": values.to(getattr(torch, self.precision))}
        scale = values.abs().amax(dim=-1) / 127.0  # (T, h, w)
        levels = values / scale.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
        return {"values": levels.round().clamp(-127, 127).to(torch.int8), "scale": scale}

    def unpack(self, packed: Packed) -> Tensor:
        """Stored tensors as (C, T, h, w): float32, or bfloat16 as it was stored."""
        values = packed["values"]
        if self.precision == "int8":
            values = values.float().mul_(packed["scale"][..., None])
        return values.permute(3, 0, 1, 2)

    def cast(self, feature_map: FeatureMap) -> FeatureMap:
        """A live map after the round trip through storage: equal to the map that a reader would get."""
        reduced = self.reduce(feature_map)
        features = self.unpack(self.pack(reduced.features)).to(feature_map.features.device)
        return replace(reduced, features=features)

    def bytes_per_frame(self, channels: int, rows: int, columns: int) -> int:
        """Bytes of one step of a map on a grid of rows x columns."""
        return rows * columns * (channels * BYTES[self.precision] + 4 * (self.precision == "int8"))


IdentityPolicy = Literal["content", "stat"]


@dataclass(frozen=True)
class FeatureKey:
    """The address of the features of one run.

    Attributes:
        media: identity of the file, picture or set of pictures that the frames come from, and of what was
            drawn on them before they were encoded.
        frames: numbers of the run's frames in it.
        size: height and width of the decoded frames.
    """

    media: str
    frames: tuple[int, ...]
    size: tuple[int, int]

    @property
    def digest(self) -> str:
        """The name under which the features are stored: 32 hexadecimal digits."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``grid`` keeps the addresses of version 0.1, which had such a field."""
        return {**asdict(self), "grid": None}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> FeatureKey:
        """Inverse of ``to_dict``, through JSON."""
        return cls(record["media"], tuple(record["frames"]), (record["size"][0], record["size"][1]))


_known: dict[tuple[str, int, int], str] = {}  # (path, size, mtime) of files hashed by this process


def identify(source: str | os.PathLike[str] | bytes | Tensor, policy: IdentityPolicy = "content") -> str:
    """Identity of a media file, or of a decoded picture.

    Args:
        source: a path; or the bytes of a file, or uint8 pixels (3, H, W), always identified by content.
        policy: ``content`` hashes the file's bytes, once for each process while size and time of change stay
            the same; ``stat`` takes path, size and time of change for it, where reading is too slow.

    Raises:
        MediaNotFoundError: there is no such file.
    """
    if isinstance(source, Tensor):
        pixels = source.cpu().contiguous().numpy().tobytes()
        return "pixels:" + hashlib.sha256(f"{tuple(source.shape)}".encode() + pixels).hexdigest()
    if isinstance(source, bytes):
        return "sha256:" + hashlib.sha256(source).hexdigest()
    path = Path(os.fspath(source).removeprefix("file://")).absolute()
    try:
        return _of_file(path, policy)
    except (OSError, ValueError) as error:
        what, got = f"Cannot read the media file {str(source)!r}.", getattr(error, "strerror", None) or error
        raise MediaNotFoundError(what, got=got, expected="a readable file", fix="check the path") from error


def _of_file(path: Path, policy: IdentityPolicy) -> str:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"{path} is not a regular file")  # a pipe would be waited for
    seen = (str(path), state.st_size, state.st_mtime_ns)
    if policy == "stat":
        return "stat:" + hashlib.sha256(repr(seen).encode()).hexdigest()
    if seen not in _known:
        with path.open("rb") as file:
            _known[seen] = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    return _known[seen]


def picture_key(media: Sequence[str], size: tuple[int, int]) -> FeatureKey:
    """The address of pictures that are encoded together; ``media`` holds the identity of each."""
    once = list(dict.fromkeys(media))
    return FeatureKey(identify_set(once), tuple(once.index(identity) for identity in media), size)


def identify_set(identities: Sequence[str]) -> str:
    """Identity of several pictures that are encoded together; one picture keeps its own."""
    if len(identities) == 1:
        return identities[0]
    return "set:" + hashlib.sha256(" ".join(identities).encode()).hexdigest()


def write_manifest(folder: Path, record: Mapping[str, Any]) -> None:
    """Create a store: its folder and its description. An existing description is kept."""
    whole = {"format": f"{FORMAT[0]}.{FORMAT[1]}", "vega3d_version": __version__, **record}
    text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
    file = files.make_folder(folder, error=StoreError) / MANIFEST
    files.write_first(file, lambda part: part.write_text(text, encoding="utf-8"), error=StoreError)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the description of a store.

    Raises:
        StoreError: the description is missing, damaged, or of a newer format.
    """
    try:
        about: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        major = int(str(about["format"]).split(".")[0])
        missing = {"fingerprint", "backbone", "form", "identity"} - set(about)
        form, picture = about.get("form", {}), about.get("backbone", {}).get("picture")
        is_gone = form.get("grid") in GONE or picture == "matched"  # they depend on one host's tokens
        FeatureFormat(**(form if not is_gone else {}))
    except FileNotFoundError:
        raise _no_store(folder, f"no {MANIFEST}") from None
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise _no_store(folder, f"{MANIFEST} cannot be read ({type(error).__name__}: {error})") from error
    if is_gone:
        what = f"Cannot read the store {folder}: version 0.1 of vega3d is the last one that reads it."
        got, expected = f"grid {form.get('grid')!r}, picture {picture!r}", "grid native or pooled"
        raise StoreError(what, got=got, expected=expected, fix=REBUILD)
    if major > FORMAT[0] or missing:
        raise _no_store(folder, f"format {about['format']}, without {sorted(missing)}")
    return about


def _no_store(folder: Path, got: str) -> StoreError:
    expected = f"a folder made by `vega3d cache build`, format {FORMAT[0]}.x"
    fix = "check the path; a newer format needs `pip install -U vega3d`"
    return StoreError(f"Cannot read the feature store {folder}.", got=got, expected=expected, fix=fix)
