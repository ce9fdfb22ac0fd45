"""A small folder with every benchmark in it, made of rooms."""

from __future__ import annotations

from pathlib import Path

import pytest

from vega3d.rooms import export_motion, export_rooms
from vega3d.rooms.formats.cvbench import export_pictures
from vega3d.rooms.formats.scannet import export_scannet


@pytest.fixture(scope="session")
def every_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rooms in the layouts of VSI-Bench, ScanNet's benchmarks, CV-Bench, BLINK and the motion twins."""
    root = tmp_path_factory.mktemp("benchmarks")
    export_rooms(root, 2, width=64, height=64, frames=8, per_type=1)
    export_scannet(root, 2, split="val", width=96, height=72, frames=5)
    export_pictures(root, 3, size=64)
    export_motion(root, 2, width=32, height=32, kinds=["camera"])
    return root
