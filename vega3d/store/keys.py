"""Addresses of stored features, made of the contents of media and not of their names.

A frame that a hundred questions ask about has one address. A file that was replaced by another has a new
one, so an old feature is never found for it. The generator and its settings are not part of the address: one
store holds the features of one fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vega3d.errors import MediaNotFoundError

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
