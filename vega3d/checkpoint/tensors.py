"""Tensors of a checkpoint as safetensors, and the checks before they are copied into a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from vega3d._utils import files
from vega3d.errors import CheckpointError


def read_tensors(file: Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a file.

    Args:
        file: safetensors.
        expected: the folder that the file belongs to, for messages.
    """
    if not file.exists():
        raise files.missing(file, expected)
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except Exception as error:  # safetensors' own errors, and those of the disk
        raise files.damaged(file, error) from error
    return tensors


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors; each is copied, since no file takes tensors that share memory (ZeRO-3 on a CPU)."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    files.write_whole(file, lambda part: save_file(copies, part, metadata={"format": "pt"}))


def require_real(tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors without data, which would swallow what is copied into them."""
    names = sorted(name for name, tensor in tensors.items() if tensor.is_meta)
    if names:
        title = f"Invalid tensor {names[0]!r}: it is on the device meta, which holds no data."
        got = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        fix = "load the host with its weights before it is wrapped; accelerate's offloading is fine"
        raise CheckpointError(title, got=got, expected="tensors on a CPU or a GPU", fix=fix)


def require_same_tensors(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fill projector and fusion exactly."""
    require_real(expected)
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    shapes = [n for n in expected if n in tensors and expected[n].shape != tensors[n].shape]
    if missing or unexpected or shapes:
        raise CheckpointError(
            "Invalid weights: their names or shapes are not those of the model.",
            got=f"missing {missing}, unexpected {unexpected}, other shape {shapes}",
            expected=", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in expected.items()),
            fix="use the vega3d_config.json that was saved with these weights",
        )
