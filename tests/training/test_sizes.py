"""True sizes, on the meta device: what the published recipe trains, and what it needs."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoModelForImageTextToText

from vega3d import pipeline
from vega3d.config import HostConfig
from vega3d.costs.host import lora_parameters
from vega3d.errors import ConfigError, DependencyError
from vega3d.hosts.empty import empty_host, find_host
from vega3d.hosts.loading import load_host
from vega3d.pico import pico_path
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import qlora_settings, quantization_of, source_of
from vega3d.training.trained import adapter_of
from vega3d.training.validation.plan import model_of

BACKBONE = {"path": "t2v-1.3b", "dtype": "bfloat16"}


def config(**changes: Any) -> TrainConfig:
    record = {
        "model": {"host": "7b", "backbone": BACKBONE},
        "data": [{"file": "a.json"}],
        "lora": {"rank": 64, "alpha": 64},
    }
    return TrainConfig.from_dict(record | changes)


def test_the_7b_with_lora_trains_161_million_beside_projector_and_gate() -> None:
    settings = config()
    model = model_of(settings, source_of(settings))
    own = sum(one.numel() for one in adapter_of(model).own_state().values())
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    lora = trained - own
    assert lora == lora_parameters(empty_host(find_host("7b")), 64)
    assert round(lora / 1e6, 1) == 161.5
    assert {one.device.type for one in model.parameters()} == {"meta"}
    frozen = sum(one.numel() for one in model.parameters() if not one.requires_grad)
    assert frozen == sum(one.numel() for one in empty_host(find_host("7b")).parameters())


def test_a_model_on_the_meta_device_has_the_parameters_of_the_loaded_one() -> None:
    empty, loaded = (pipeline.load(device=device).adapter for device in ("meta", "cpu"))
    assert {name: one.shape for name, one in empty.named_parameters()} == {
        name: one.shape for name, one in loaded.named_parameters()
    }
    assert {one.device.type for one in empty.parameters()} == {"meta"}


@pytest.mark.parametrize("recipe", ["align", "full"])
def test_weights_in_4_bits_are_not_trained(recipe: str) -> None:
    with pytest.raises(ConfigError, match="4 bits"):
        config(recipe=recipe, lora={"quantize": "4bit"})


def test_qlora_where_it_cannot_run_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DependencyError, match="GPU and bitsandbytes"):
        quantization_of(config(lora={"quantize": "4bit"}))


def test_qlora_leaves_the_vision_tower_and_the_head_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = qlora_settings()
    assert (settings.load_in_4bit, settings.bnb_4bit_quant_type) == (True, "nf4")
    assert quantization_of(config()) is None
    given: dict[str, Any] = {}
    monkeypatch.setattr(
        AutoModelForImageTextToText, "from_pretrained", lambda *_, **options: given.update(options)
    )
    load_host(HostConfig(str(pico_path("host"))), quantization=settings)
    assert given["quantization_config"].llm_int8_skip_modules == ["visual", "lm_head"]
