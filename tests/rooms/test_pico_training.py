"""The training of the pico host takes short cuts; none of them may change what is computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from train.pico import fast as pico_fast
from train.pico import model as pico_model
from train.pico import pack as pico_pack

PAIRS = [
    ("How many chairs are there?", "3"),
    ("These are frames of a video.\nHow many bed(s) are in this room?\nOptions:", "12"),
    ("Describe the room.", "red bed, 2 lamps"),
]


@pytest.fixture(scope="module")
def pico() -> Any:
    """The scripts' modules, a tiny model, its processor and one clip of pixels."""
    tokenizer = pico_model.train_tokenizer([f"{p} {a}" for p, a in PAIRS])
    processor = pico_model.build_processor(tokenizer)
    torch.manual_seed(0)
    config = pico_model.build_config(tokenizer)
    config.text_config.num_hidden_layers = 2
    config.text_config.layer_types = config.text_config.layer_types[:2]
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 140, 140, 3), dtype=np.uint8)
    return pico_fast, pico_pack, model, processor, pixels


@torch.no_grad()
def alone(pico: Any, prompt: str, answer: str, kind: str) -> torch.Tensor:
    """Logits (n, vocabulary) of the stock model for one question by the stock processor."""
    _, _, model, processor, pixels = pico
    frames = list(pixels[0])
    media = [{"type": kind}] * (1 if kind == "video" else len(frames))
    text = processor.apply_chat_template(
        [{"role": "user", "content": [*media, {"type": "text", "text": prompt}]}],
        add_generation_prompt=True,
        tokenize=False,
    )
    indices = np.linspace(0, 47, 8).round().astype(int).tolist()
    metadata = {"fps": 8.0, "total_num_frames": 48, "frames_indices": indices}
    how = {
        "video": {"videos": [frames], "video_metadata": [metadata]},
        "image": {"images": frames},
    }[kind]
    inputs = processor(text=[text + answer], **how, cap_pixels_per_frame=False, return_tensors="pt")
    return model(**{k: v for k, v in inputs.items() if k != "video_metadata"}).logits[0]


@torch.no_grad()
def packed(pico: Any, kind: str) -> list[torch.Tensor]:
    """Logits of every question from one packed sequence."""
    _, pico_pack, model, processor, pixels = pico
    batch = pico_pack.Packer(model, processor).pack(torch.from_numpy(pixels).float(), [PAIRS], kind=kind)
    _, hidden = pico_pack.forward(model, batch)
    logits = model.lm_head(hidden)[0, batch.prefix.shape[1] :]
    return [logits[batch.segment[0] == number] for number in range(1, len(PAIRS) + 1)]


@pytest.mark.parametrize("kind", ["video", "image"])
def test_a_question_in_a_pack_gets_the_logits_that_it_gets_alone(pico: Any, kind: str) -> None:
    for (prompt, answer), logits in zip(PAIRS, packed(pico, kind), strict=True):
        stock = alone(pico, prompt, answer, kind)[-len(logits) :]
        assert torch.allclose(logits, stock, atol=2e-5)


def test_the_faster_forwards_compute_the_same_logits(pico: Any) -> None:
    before = packed(pico, "video")
    pico[0].speed_up(pico[2], compiled=False)
    for a, b in zip(before, packed(pico, "video"), strict=True):
        assert torch.allclose(a, b, atol=2e-5)
