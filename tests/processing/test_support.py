"""Every host runs with every fusion in every mode: the table of docs/support.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media, processors, tiny
from tests.backbones.conftest import GOLDENS
from tests.processing.helpers import image, user, video
from vega3d import Vega3DAdapter, Vega3DConfig, Vega3DProcessor, WanBackbone, WanConfig, registry
from vega3d.config import FusionConfig
from vega3d.pico import pico_path

ROOT = Path(__file__).parents[2]
MODES = ("frame", "window", "joint", "clip", "vace_no_reference", "vace_reference")
Backbones = dict[str, WanBackbone]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Backbones:
    """A generator for each mode: pico, and the tiny VACE of the golden vectors."""
    vace = tmp_path_factory.mktemp("vace")
    (vace / "transformer").symlink_to(GOLDENS / "diffusers" / "transformer_vace")
    (vace / "vae").symlink_to(GOLDENS / "diffusers" / "vae")
    return {
        mode: WanBackbone.from_pretrained(
            vace if "vace" in mode else pico_path("wan"),
            config=WanConfig(mode=mode, block=1, pixels=32 * 32),
            prompt_embeds=torch.ones(1, 32) if "vace" in mode else None,
        )
        for mode in MODES
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fusion", registry.names("fusions"))
@pytest.mark.parametrize("family", list(processors.HOSTS))
def test_a_host_trains_with_a_fusion_in_a_mode(
    family: str, fusion: str, mode: str, backbones: Backbones, clip: str
) -> None:
    host: Any = getattr(tiny, family)()
    config = Vega3DConfig(backbone=backbones[mode].config, fusion=FusionConfig(fusion))
    adapter = Vega3DAdapter(host, config, backbones[mode])
    processor = Vega3DProcessor(
        processors.host_processor(family, host.config.vision_config.patch_size), config
    )
    pictures = [image(media.photo(seed=seed), clip="a") for seed in (0, 1)]
    batch = processor.apply_chat_template(
        [user(video(clip, nframes=4), *pictures, "And?"), user("Only text.")]
    )
    adapter(**batch, labels=batch["input_ids"]).loss.backward()
    gradients = [parameter.grad for parameter in adapter.projector.parameters()]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


def test_the_page_lists_every_host_fusion_and_mode() -> None:
    page = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")
    listed = [*registry.names("hosts"), *registry.names("fusions"), *MODES]
    assert not [name for name in listed if f"`{name}`" not in page]
