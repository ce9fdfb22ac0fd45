"""SigLIP's vision tower as a frozen encoder of frames."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vega3d.backbones.siglip.backbone import SiglipBackbone

__all__ = ["SiglipBackbone"]


def __getattr__(name: str) -> Any:  # its config is read without torch
    if name != "SiglipBackbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vega3d.backbones.siglip.backbone import SiglipBackbone

    return SiglipBackbone
