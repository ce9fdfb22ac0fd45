"""vega3d: a frozen video generator's features, fused into the visual tokens of a Qwen-VL.

Importing this package loads no torch, transformers or diffusers; each public name is imported when
it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vega3d._utils import moved
from vega3d._version import __version__

if TYPE_CHECKING:
    from vega3d.adapter import Vega3DAdapter
    from vega3d.backbones.siglip.backbone import SiglipBackbone
    from vega3d.backbones.siglip.config import SiglipConfig
    from vega3d.backbones.wan.backbone import WanBackbone
    from vega3d.backbones.wan.config import WanConfig
    from vega3d.config import FusionConfig, Vega3DConfig
    from vega3d.fusion.encode import Encoding
    from vega3d.media.frame_plan import FramePlan
    from vega3d.pipeline import Pipeline, load, load_backbone
    from vega3d.processing import Vega3DProcessor

_HOMES = {
    "Encoding": "vega3d.fusion.encode",
    "FramePlan": "vega3d.media.frame_plan",
    "FusionConfig": "vega3d.config",
    "Pipeline": "vega3d.pipeline",
    "SiglipBackbone": "vega3d.backbones.siglip.backbone",
    "SiglipConfig": "vega3d.backbones.siglip.config",
    "Vega3DAdapter": "vega3d.adapter",
    "Vega3DConfig": "vega3d.config",
    "Vega3DProcessor": "vega3d.processing",
    "WanBackbone": "vega3d.backbones.wan.backbone",
    "WanConfig": "vega3d.backbones.wan.config",
    "load": "vega3d.pipeline",
    "load_backbone": "vega3d.pipeline",
}

__all__ = [
    "Encoding",
    "FramePlan",
    "FusionConfig",
    "Pipeline",
    "SiglipBackbone",
    "SiglipConfig",
    "Vega3DAdapter",
    "Vega3DConfig",
    "Vega3DProcessor",
    "WanBackbone",
    "WanConfig",
    "__version__",
    "load",
    "load_backbone",
]

moved.install()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vega3d' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
