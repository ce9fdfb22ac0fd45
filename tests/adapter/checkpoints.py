"""Small trained checkpoints of each recipe, on a tiny host that lies on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests import processors, tiny
from tests.adapter.conftest import wrap
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.training.config import LoraSettings, Recipe
from vega3d.training.export import export, merge
from vega3d.training.recipes import apply_recipe
from vega3d.training.trained import write_trained

KINDS = ("align", "lora", "full", "merged")
"""A checkpoint of each recipe (``full`` exported), and one of LoRA after ``merge``."""


def write_host(folder: Path, name: str = "qwen2_5_vl", **changes: Any) -> Path:
    """A tiny host and its processor as files; ``changes`` are those of ``tiny.make_host``."""
    tiny.make_host(name, **changes).save_pretrained(folder)
    processors.host_processor(name).save_pretrained(folder)
    return folder


def host_of(folder: Path) -> nn.Module:
    """A host from its files."""
    return load_host(HostConfig(path=str(folder)))


def trained(host: Path, backbone: WanBackbone, recipe: Recipe) -> nn.Module:
    """The parts that a recipe trains, each trained tensor moved as training would."""
    model = apply_recipe(wrap(host_of(host), backbone), recipe, LoraSettings(rank=2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def write_checkpoint(kind: str, host: Path, backbone: WanBackbone, folder: Path) -> Path:
    """A checkpoint that ``from_pretrained`` reads; ``kind`` is one of ``KINDS``."""
    recipe: Recipe = "lora" if kind == "merged" else kind  # type: ignore[assignment]
    write_trained(folder / "final", trained(host, backbone, recipe))
    if kind == "full":
        return export(folder / "final", folder / "exported")
    return merge(folder / "final", folder / "merged") if kind == "merged" else folder / "final"


@torch.no_grad()
def logits(model: Any) -> Tensor:
    """Of an image and a clip; (2, L, vocabulary)."""
    batch = tiny.make_batch(model.host, [[("image", 1, 4, 4)], [("video", 2, 4, 4)]])
    found: Tensor = model.eval()(**batch).logits
    return found


def load(folder: Path, backbone: WanBackbone, **options: Any) -> Vega3DAdapter:
    """A checkpoint with the session's backbone."""
    return Vega3DAdapter.from_pretrained(folder, backbone=backbone, **options)
