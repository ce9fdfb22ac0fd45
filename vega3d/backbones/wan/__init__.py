"""Wan2.1 text-to-video as a frozen encoder of pictures."""

import vega3d._torchvision  # noqa: F401  (before the first import of diffusers)
from vega3d.backbones.wan.backbone import WanBackbone

__all__ = ["WanBackbone"]
