"""Fusion of generative features and further streams into a host's visual tokens."""

from vega3d.fusion.base import Fused, Fusion, FusionContext, Projector, build

__all__ = ["Fused", "Fusion", "FusionContext", "Projector", "build"]
