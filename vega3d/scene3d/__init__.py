"""Posed RGB-D scenes: coordinates of visual tokens, position encodings, objects, grounding, and frames."""

from vega3d.scene3d.coordinates import back_project, pool_coordinates
from vega3d.scene3d.frames import coverage_frames, uniform_frames
from vega3d.scene3d.grounding import GroundingHead, grounding_loss
from vega3d.scene3d.objects import object_features, object_mask
from vega3d.scene3d.positions import position_encoding, voxel_index

__all__ = [
    "GroundingHead",
    "back_project",
    "coverage_frames",
    "grounding_loss",
    "object_features",
    "object_mask",
    "pool_coordinates",
    "position_encoding",
    "uniform_frames",
    "voxel_index",
]
