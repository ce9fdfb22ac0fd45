"""A tiny real Wan for the adapter's tests, loaded once; hosts are made where they are needed."""

from __future__ import annotations

import pytest

from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.pico import pico_path

SETTINGS = WanConfig(block=1, pixels=64 * 64)


@pytest.fixture(scope="session")
def backbone() -> WanBackbone:
    """Pico's Wan, cut after its second block, on 64 x 64 pixels."""
    return WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)


def wrap(host: object, backbone: WanBackbone, fusion: str = "gated_residual") -> Vega3DAdapter:
    """A host wrapped with a fusion by name, in eval mode."""
    return Vega3DAdapter(host, Vega3DConfig(fusion=fusion), backbone).eval()
