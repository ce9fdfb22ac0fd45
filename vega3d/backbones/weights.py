"""Tensors from safetensors files, loaded strictly into modules that were built without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vega3d._utils import files
from vega3d.errors import CheckpointError

Tensors = dict[str, Tensor]


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """Open a safetensors file, for ``keys`` and ``get_tensor``.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safe_open(file, "pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise files.damaged(file, error) from error


def read(file: Path, is_wanted: Callable[[str], bool]) -> Tensors:
    """Read the tensors of a file whose names are wanted.

    Raises:
        CheckpointError: the file is damaged.
    """
    with opened(file) as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys() if is_wanted(name)}  # noqa: SIM118


def fill(model: Any, tensors: Tensors, folder: Path) -> Any:
    """Load tensors into a model and freeze it; every parameter has to come from the files.

    Raises:
        CheckpointError: a tensor is missing, unexpected or of another shape.
    """
    try:
        result = model.load_state_dict(tensors, strict=False, assign=True)
    except RuntimeError as error:
        raise unfit(folder, str(error)) from error
    if result.missing_keys or result.unexpected_keys:
        raise unfit(folder, f"missing {result.missing_keys[:8]}, unexpected {result.unexpected_keys[:8]}")
    return model.eval().requires_grad_(False)


def unfit(folder: Path, problem: str) -> CheckpointError:
    """Error for tensors that are not those of the model that config.json describes."""
    title = f"Invalid tensors in {folder}: they do not fit the model."
    expected = "every tensor of the parts that are kept, in the shape given by config.json, and no other"
    fix = "download the model again, or check that config.json belongs to these weights"
    return CheckpointError(title, got=problem[:600], expected=expected, fix=fix)
