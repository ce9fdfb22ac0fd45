"""Wan2.1, text-to-video or VACE, as a frozen encoder of frames and clips."""

from vega3d._utils import moved

__getattr__ = moved.names(__name__, {"WanBackbone": "vega3d.backbones.wan.backbone:WanBackbone"})
