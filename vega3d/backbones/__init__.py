"""Frozen encoders: plain objects outside the model, each in a folder of its own."""

from vega3d.backbones.base import Backbone, BackboneConfig, BackboneCost, BackboneSpec, Part

__all__ = ["Backbone", "BackboneConfig", "BackboneCost", "BackboneSpec", "Part"]
