"""Wan2.1, text-to-video or VACE, as a frozen encoder of frames and clips."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vega3d.backbones.wan.backbone import WanBackbone

__all__ = ["WanBackbone"]


def __getattr__(name: str) -> Any:  # its config is read without torch
    if name != "WanBackbone":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vega3d.backbones.wan.backbone import WanBackbone

    return WanBackbone
