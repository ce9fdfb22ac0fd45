"""The golden Wan in both layouts, and pico's."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vega3d import WanBackbone, WanConfig
from vega3d.pico import pico_path

GOLDENS = Path(__file__).parents[1] / "goldens" / "wan"
LAYOUTS = ("diffusers", "original")
GOLDEN = WanConfig.reference(block=4, size=(96, 64))
VACE_MODES = ("vace_no_reference", "vace_reference")
PICO = WanConfig(block=3, pixels=64 * 64)
ANY_PLACE = pytest.mark.xfail(
    os.environ.get("MKL_CBWR") == "COMPATIBLE",
    reason="MKL's compatible kernels round a row of a matrix by its place in it (docs/branch.md)",
    strict=False,
)
"""Tests that a feature does not depend on its place in a micro-batch."""


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """Inputs and outputs of the original code."""
    return load_file(GOLDENS / "golden.safetensors")


@pytest.fixture(scope="session")
def vace_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A VACE in each layout, beside the same VAE."""
    root = tmp_path_factory.mktemp("vace")
    shutil.copytree(GOLDENS / "original" / "vace", root / "original")
    shutil.copy(GOLDENS / "original" / "vae" / "Wan2.1_VAE.safetensors", root / "original")
    shutil.copytree(GOLDENS / "diffusers" / "transformer_vace", root / "diffusers" / "transformer")
    shutil.copytree(GOLDENS / "diffusers" / "vae", root / "diffusers" / "vae")
    return {layout: root / layout for layout in LAYOUTS}


@pytest.fixture(scope="session")
def vaces(
    vace_folders: dict[str, Path], golden: dict[str, torch.Tensor]
) -> dict[tuple[str, str], WanBackbone]:
    """The golden VACE by layout and mode."""
    return {
        (layout, mode): WanBackbone.from_pretrained(
            folder, config=dataclasses.replace(GOLDEN, mode=mode), prompt_embeds=golden["prompt"]
        )
        for layout, folder in vace_folders.items()
        for mode in VACE_MODES
    }


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each layout; the original one holds DiT and VAE together, as published."""
    original = tmp_path_factory.mktemp("wan") / "original"
    shutil.copytree(GOLDENS / "original" / "t2v", original)
    shutil.copy(GOLDENS / "original" / "vae" / "Wan2.1_VAE.safetensors", original)
    return {"diffusers": GOLDENS / "diffusers", "original": original}


@pytest.fixture(scope="session")
def wans(folders: dict[str, Path], golden: dict[str, torch.Tensor]) -> dict[str, WanBackbone]:
    """The golden Wan, loaded from each layout."""
    return {
        layout: WanBackbone.from_pretrained(folder, config=GOLDEN, prompt_embeds=golden["prompt"])
        for layout, folder in folders.items()
    }


@pytest.fixture(scope="session")
def pico() -> WanBackbone:
    """Pico's Wan, cut after its fourth block, on 64 x 64 pixels."""
    return WanBackbone.from_pretrained(pico_path("wan"), config=PICO)


def random_frames(count: int, height: int = 48, width: int = 80, seed: int = 0) -> torch.Tensor:
    """(count, 3, height, width) uint8."""
    make = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=make, dtype=torch.uint8)
