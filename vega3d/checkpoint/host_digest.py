"""A digest of a host's checkpoint that distinguishes two hosts of one type and width.

It is made from the files, never from loaded weights, which may be cast, quantised, offloaded or adapted. For
each tensor it takes the shape and the sign bits of a fixed sample of its elements: a cast between float64,
float32, bfloat16 and float16 keeps every sign bit, also where it rounds, overflows or underflows. Names,
order and shards do not enter, and tied weights that are stored twice count once. A few kilobytes of each
tensor are read.

Not detected: changes that turn no sampled sign, such as a scaled tensor or single elements. Training that
moves most weights by a thousandth of their spread turns some signs even in the tests' tiny host.
There is no digest for a host that was built in memory, that is quantised on disk (the values are packed), or
whose files are not on this machine.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import xxhash
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import Tensor, nn

SIZES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}  # bytes of an element, by safetensors' names
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)  # the same in memory
RUNS, RUN = 4, 1024  # places of a tensor that are sampled, and elements at each
_CONFIG, _WHOLE, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def host_digest(path: str | os.PathLike[str] | None, revision: str | None = None) -> str | None:
    """Digest of a host's checkpoint; None where it cannot be computed.

    Args:
        path: folder, or hub id whose files are in the cache; nothing is downloaded.
        revision: of the hub repository; a commit's hash.
    """
    signs = _signs_on_disk(path, revision)
    return xxhash.xxh3_128_hexdigest(b"".join(sorted(signs))) if signs else None


def changed_weights(host: nn.Module, path: str | None, revision: str | None = None) -> list[str]:
    """Names of a host's weights that are not those of its files, by the same sample.

    Args:
        host: in memory. Adapters in it, quantised, sharded and offloaded weights are left out.
        path: of its checkpoint, as for ``host_digest``; without files nothing is compared.
        revision: of the hub repository.
    """
    signs = _signs_on_disk(path, revision)
    if not signs or getattr(host, "hf_quantizer", None) is not None:
        return []
    weights = ((name, weight) for name, weight in host.named_parameters() if _is_plain(name, weight))
    return [name for name, weight in weights if _signs_in_memory(weight.detach()) not in signs]


def _is_plain(name: str, weight: Tensor) -> bool:
    is_adapter = ".lora_" in name or ".modules_to_save." in name
    is_here = type(weight.data) is Tensor and not weight.is_meta and not hasattr(weight, "ds_id")
    return is_here and not is_adapter and weight.dtype in DTYPES


def _signs_in_memory(weight: Tensor) -> bytes:
    """As ``_signs_of``, of one tensor."""
    flat, (firsts, length) = weight.reshape(-1), _sample(weight.numel())
    bits = torch.cat([torch.signbit(flat[first : first + length]) for first in firsts]).cpu()
    return _digest(list(weight.shape), np.packbits(bits.numpy()).tobytes())


def _signs_on_disk(path: str | os.PathLike[str] | None, revision: str | None) -> set[bytes]:
    """A digest for each tensor of a host's checkpoint; empty where it cannot be computed."""
    try:
        shards = _shards(str(path), revision) if path else []
        return {digest for shard in shards for digest in _signs_of(shard)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, HFValidationError):
        return set()  # no host, or one that is damaged: loading it is what reports that


def _shards(path: str, revision: str | None) -> list[Path]:
    """The files of a host's weights, as transformers chooses them; none if they are quantised.

    Raises:
        FileNotFoundError: one is not on this machine.
    """
    config = json.loads(_file(path, _CONFIG, revision).read_text(encoding="utf-8"))
    if config.get("quantization_config"):
        return []
    try:
        return [_file(path, _WHOLE, revision)]
    except FileNotFoundError:
        index = json.loads(_file(path, _INDEX, revision).read_text(encoding="utf-8"))
        return [_file(path, name, revision) for name in sorted(set(index["weight_map"].values()))]


def _file(path: str, name: str, revision: str | None) -> Path:
    file: object = Path(path) / name
    if not Path(path).is_dir():
        file = try_to_load_from_cache(path, name, revision=revision)  # None, or a mark that it is not there
    if not isinstance(file, (str, Path)) or not Path(file).is_file():
        raise FileNotFoundError(name)
    return Path(file)


def _signs_of(shard: Path) -> Iterator[bytes]:
    """For each tensor of floats in a safetensors file, a digest of its shape and sampled sign bits."""
    with shard.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, entry in header.items():
            if name != "__metadata__" and entry["dtype"] in SIZES:
                file_start = 8 + length + entry["data_offsets"][0]
                signs = _signs(file, file_start, math.prod(entry["shape"]), SIZES[entry["dtype"]])
                yield _digest(entry["shape"], signs)


def _signs(file: BinaryIO, start: int, count: int, size: int) -> bytes:
    """Packed sign bits of the sampled elements of one tensor.

    Args:
        file: of the weights.
        start: of the tensor's first byte.
        count: elements of the tensor.
        size: bytes of an element.
    """
    firsts, length = _sample(count)
    parts = []
    for first in firsts:
        file.seek(start + first * size)
        parts.append(file.read(length * size))
    values = np.frombuffer(b"".join(parts), np.uint8)
    return np.packbits(values[size - 1 :: size] >> 7).tobytes()  # little-endian: the sign is in the last byte


def _sample(count: int) -> tuple[list[int], int]:
    """First elements of the places that are sampled in a tensor of ``count`` elements, and their length."""
    if count <= RUNS * RUN:
        return [0], count
    return [run * (count - RUN) // (RUNS - 1) for run in range(RUNS)], RUN


def _digest(shape: list[int], signs: bytes) -> bytes:
    return xxhash.xxh3_128_digest(json.dumps(shape).encode() + signs)
