"""A digest of a host's checkpoint that tells two hosts of one type and width apart.

It is made from the files, never from loaded weights, which may be cast, quantised, offloaded or adapted. For
each tensor it takes the shape and the sign bits of a fixed sample of its elements: a cast between float64,
float32, bfloat16 and float16 keeps every sign bit, also where it rounds, overflows or underflows. Names,
order and shards do not enter, and tied weights that are stored twice count once. A few kilobytes of each
tensor are read.

Not detected: changes that turn no sampled sign, such as a scaled tensor or single elements. A training run
that moves most weights by a ten-thousandth of their size turns some signs among millions of samples.
There is no digest for a host that was built in memory, that is quantised on disk (the values are packed), or
whose files are not on this machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
import xxhash
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

RUNS, RUN = 4, 1024  # places of a tensor that are sampled, and elements at each
_CONFIG, _WHOLE, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def host_digest(path: str | os.PathLike[str] | None, revision: str | None = None) -> str | None:
    """Digest of a host's checkpoint; None where it cannot be computed.

    Args:
        path: folder, or hub id whose files are in the cache; nothing is downloaded.
        revision: of the hub repository; a commit's hash.
    """
    try:
        shards = _shards(str(path), revision) if path else []
        signs = {_signs(tensor) for shard in shards for tensor in _floats(shard)}
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError, HFValidationError):
        return None  # no host, or one that is damaged: loading it is what reports that
    return xxhash.xxh3_128_hexdigest(b"".join(sorted(signs))) if signs else None


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


def _floats(shard: Path) -> list[Tensor]:
    """Tensors of a file, mapped into memory: only elements that are looked up are read."""
    with safe_open(shard, framework="pt") as opened:
        tensors = [opened.get_tensor(name) for name in opened.keys()]  # noqa: SIM118  (no mapping)
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def _signs(tensor: Tensor) -> bytes:
    """Digest of the shape and the sampled sign bits of one tensor."""
    flat, count = tensor.reshape(-1), tensor.numel()
    starts = [0] if count <= RUNS * RUN else [run * (count - RUN) // (RUNS - 1) for run in range(RUNS)]
    length = count if len(starts) == 1 else RUN
    sample = torch.cat([torch.signbit(flat[start : start + length]) for start in starts])
    bits = np.packbits(sample.numpy()).tobytes()
    return xxhash.xxh3_128_digest(json.dumps(list(tensor.shape)).encode() + bits)
