"""The true models' shapes, built on the meta device from their published configs: nothing is allocated."""

from __future__ import annotations

import pytest
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from vega3d import Vega3DAdapter, Vega3DConfig, WanConfig

VISION = {"depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420}
SIZES = {
    "3B": (
        {"hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16},
        2,
        11008,
        151936,
        3.75e9,
    ),
    "7B": (
        {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28},
        4,
        18944,
        152064,
        8.29e9,
    ),
}


def true_host(name: str) -> Qwen2_5_VLForConditionalGeneration:
    text, kv_heads, intermediate, vocabulary, _ = SIZES[name]
    text = text | {
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
        "vocab_size": vocabulary,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }
    vision = VISION | {"out_hidden_size": text["hidden_size"]}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=name == "3B")
    with torch.device("meta"):
        return Qwen2_5_VLForConditionalGeneration(config).to(torch.bfloat16)


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_the_true_host_is_wrapped_with_a_projector_of_its_width(name: str) -> None:
    host = true_host(name)
    width = host.config.text_config.hidden_size
    model = Vega3DAdapter(host, Vega3DConfig(backbone=WanConfig(channels=1536)))
    assert count(host) == pytest.approx(SIZES[name][-1], rel=0.01)
    assert model.projector.down.weight.shape == (width, width)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_the_new_modules_are_a_quarter_of_a_percent_of_the_7b() -> None:
    host = true_host("7B")
    model = Vega3DAdapter(host, Vega3DConfig(backbone=WanConfig(channels=1536)))
    new = count(model.projector) + count(model.fusion)
    assert 0.002 < new / count(host) < 0.003
    assert {p.dtype for p in model.projector.parameters()} == {torch.float32}


def test_lora_of_rank_64_on_all_seven_linears_of_the_7b_trains_161_million() -> None:
    from peft import LoraConfig, get_peft_model

    model = Vega3DAdapter(true_host("7B"), Vega3DConfig(backbone=WanConfig(channels=1536)))
    with torch.device("meta"):
        lora = get_peft_model(model, LoraConfig(r=64, target_modules=model.family.lora_targets))
    trained = sum(p.numel() for name, p in lora.named_parameters() if "lora_" in name)
    assert trained == pytest.approx(161e6, rel=0.01)
