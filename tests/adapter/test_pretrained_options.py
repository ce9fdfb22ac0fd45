"""The adapter as users of transformers and PEFT call it: options of the host, counts, pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, pipeline

from tests import tiny
from tests.adapter.checkpoints import write_host
from tests.adapter.conftest import wrap
from tests.media import photo
from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone
from vega3d.config import HostConfig
from vega3d.errors import ConfigError
from vega3d.hosts.loading import load_host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_host(tmp_path_factory.mktemp("host") / "tiny")


@pytest.fixture(scope="module")
def saved(host: Path, backbone: WanBackbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    wrap(load_host(HostConfig(path=str(host))), backbone).save_pretrained(folder)
    return folder


def test_options_of_from_pretrained_reach_the_host(saved: Path) -> None:
    model = Vega3DAdapter.from_pretrained(
        saved, backbone=None, dtype=torch.bfloat16, attn_implementation="eager", device_map={"": "cpu"}
    )
    assert model.dtype == torch.bfloat16
    assert model.config._attn_implementation == "eager"
    assert {parameter.dtype for parameter in model.projector.parameters()} == {torch.float32}


def test_a_quantization_config_reaches_the_host_and_spares_its_vision_tower(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}
    load = AutoModelForImageTextToText.from_pretrained

    def noting(path: str, quantization_config: Any = None, **options: Any) -> Any:
        given["settings"] = quantization_config
        return load(path, **options)

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", noting)
    settings = BitsAndBytesConfig(load_in_8bit=True)
    Vega3DAdapter.from_pretrained(saved, backbone=None, quantization_config=settings)
    assert given["settings"] is settings
    assert settings.llm_int8_skip_modules == ["visual", "lm_head"]


def test_options_beside_a_loaded_host_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="loaded already"):
        Vega3DAdapter.from_pretrained(saved, host=tiny.make_host("qwen2_5_vl"), dtype=torch.bfloat16)


def test_a_host_that_must_not_be_moved_refuses_through_the_adapter(backbone: WanBackbone) -> None:
    model = wrap(tiny.make_host("qwen2_5_vl"), backbone)
    assert not any(
        hasattr(model, name) for name in ("hf_device_map", "quantization_method", "is_loaded_in_4bit")
    )
    model.host.quantization_method, model.host.is_loaded_in_8bit = "bitsandbytes", True
    assert (model.quantization_method, model.is_loaded_in_8bit) == ("bitsandbytes", True)
    with pytest.raises(ValueError, match="bitsandbytes"):
        model.to(torch.float16)


def test_parameters_are_counted_as_transformers_and_peft_count_them(
    backbone: WanBackbone, capsys: pytest.CaptureFixture[str]
) -> None:
    model = wrap(tiny.make_host("qwen2_5_vl"), backbone)
    model.host.requires_grad_(False)
    new = sum(p.numel() for part in (model.projector, model.fusion) for p in part.parameters())
    assert model.num_parameters() == model.host.num_parameters() + new
    assert model.num_parameters(only_trainable=True) == new
    embeddings = model.get_input_embeddings().weight.numel()
    assert model.num_parameters() - model.num_parameters(exclude_embeddings=True) == embeddings
    model.print_trainable_parameters()
    ours = capsys.readouterr().out
    lora = get_peft_model(model, LoraConfig(r=2, target_modules=model.family.lora_targets))
    lora.print_trainable_parameters()
    theirs = capsys.readouterr().out
    assert [part.split(":")[0] for part in ours.split("||")] == [p.split(":")[0] for p in theirs.split("||")]
    assert f"trainable params: {new:,d} ||" in ours


def test_transformers_pipeline_answers(host: Path, backbone: WanBackbone) -> None:
    model = wrap(load_host(HostConfig(path=str(host))), backbone)
    processor = Vega3DProcessor.from_pretrained(host, model.vega3d_config)
    assert model.can_generate()
    messages = [
        {
            "role": "user",
            "content": [{"type": "image", "image": photo(80, 60)}, {"type": "text", "text": "?"}],
        }
    ]
    ask = pipeline("image-text-to-text", model=model, processor=processor)
    options = {"max_new_tokens": 4, "do_sample": False}
    answer = ask(text=messages, generate_kwargs=options, return_full_text=False)
    inputs = processor.apply_chat_template(messages)
    tokens = model.generate(**inputs, **options)
    expected = processor.post_process_image_text_to_text(tokens[:, inputs["input_ids"].shape[1] :])
    assert [entry["generated_text"] for entry in answer] == expected
