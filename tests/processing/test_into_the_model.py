"""The processor's output goes into a wrapped model as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import media, processors, tiny
from tests.adapter.conftest import SETTINGS, wrap
from tests.processing.helpers import OURS, image, user, video
from vega3d.backbones.wan.backbone import WanBackbone
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor


@pytest.fixture(scope="module")
def backbone() -> WanBackbone:
    """Pico's Wan, cut after its second block."""
    return WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)


@pytest.mark.exact
@pytest.mark.parametrize("family", list(processors.HOSTS))
def test_a_mixed_batch_goes_straight_into_forward_and_generate(
    family: str, backbone: WanBackbone, clip: str, short: str
) -> None:
    host: Any = getattr(tiny, family)().eval()
    adapter = wrap(host, backbone)
    rows = [
        user(image(media.photo(), clip="a"), image(media.photo(seed=1), clip="a"), "Same place?"),
        user("Only text."),
        user(video(clip, nframes=4), video(short), image(media.photo(50, 70)), "And?"),
        user(video([media.frame(number) for number in range(3)], fps=2.0), "An odd number."),
    ]
    own_processor = processors.host_processor(family, host.config.vision_config.patch_size)
    batch = Vega3DProcessor(own_processor).apply_chat_template(rows)
    own = {key: value for key, value in batch.items() if key not in OURS}
    with torch.no_grad():
        assert torch.equal(adapter(**batch).logits, host(**own).logits)  # an untrained fusion is the identity
        tokens = adapter.generate(**batch, max_new_tokens=3, do_sample=False)
    assert tokens.shape[0] == 4
