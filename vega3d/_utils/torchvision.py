"""Lets transformers import beside a torchvision whose compiled operators do not load.

PyPI's torchvision wheel is linked against CUDA. Beside a CPU-only torch, ``import torchvision`` stops
at two operators (``nms``, ``qnms``) that it describes to torch without having defined them, and
transformers then reports that a model or the Trainer "could not be imported". Defining the two schemas
first is enough: everything except the operators themselves then works, and vega3d uses neither.

Nothing happens where torchvision is absent, already imported, or loads by itself.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"  # of nms and qnms
_library: Any = None  # torch forgets the schemas when the Library object is collected


def ensure_torchvision_imports() -> bool:
    """Define the two missing schemas if, and only if, torchvision is installed and cannot load its own."""
    global _library
    if _library is not None or "torchvision" in sys.modules:
        return False
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    import torch  # before the probe: the compiled library needs torch's symbols

    if _loads(Path(spec.origin).parent):
        return False
    _library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            _library.define(name + _SIGNATURE)
    return True


def _loads(folder: Path) -> bool:
    compiled = sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd"))
    try:
        for path in compiled:
            ctypes.CDLL(str(path))
    except OSError:
        return False
    return bool(compiled)


ensure_torchvision_imports()
