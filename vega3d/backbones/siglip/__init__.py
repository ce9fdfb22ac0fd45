"""SigLIP's vision tower as a frozen encoder of frames."""

from vega3d._utils import moved

__getattr__ = moved.names(__name__, {"SiglipBackbone": "vega3d.backbones.siglip.backbone:SiglipBackbone"})
