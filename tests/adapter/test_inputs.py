"""Inputs that do not fit together are refused by a typed error that names them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertModel

from tests.adapter.conftest import wrap
from tests.tiny import HOSTS, as_tensors, grouped, make_batch, make_host
from vega3d import FramePlan, Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.errors import (
    BackboneError,
    ConfigError,
    HostError,
    InputError,
    MediaError,
    UnknownKeywordError,
    Vega3DError,
)
from vega3d.inputs.clip import clips_from_tensors

IMAGES = [[("image", 1, 4, 4), ("image", 1, 4, 6)]]
VIDEO = [[("video", 4, 4, 4)]]


@pytest.fixture
def model(backbone: WanBackbone) -> Vega3DAdapter:
    return wrap(make_host("qwen2_5_vl"), backbone)


def batch(model: Vega3DAdapter, rows: Any) -> dict[str, Any]:
    return make_batch(model.host, rows)


@pytest.mark.parametrize("call", ["forward", "generate", "encode"])
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(call: str, model: Vega3DAdapter) -> None:
    with pytest.raises(TypeError, match=r"generative_clisp(?s:.)*did you mean") as caught:
        getattr(model, call)(**batch(model, VIDEO), generative_clisp=[])
    assert isinstance(caught.value, UnknownKeywordError)


def test_an_option_of_the_hosts_generate_is_known(model: Vega3DAdapter) -> None:
    tokens = model.generate(**batch(model, VIDEO), max_new_tokens=2, repetition_penalty=1.1)
    assert tokens.shape[0] == 1


def test_frames_that_are_missing_for_the_generator_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    del inputs["generative_clips"]
    with pytest.raises(InputError, match=r"generative_clips(?s:.)*Vega3DProcessor"):
        model(**inputs)


def test_more_images_than_frames_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, IMAGES)
    inputs["generative_clips"] = inputs["generative_clips"][:1]
    with pytest.raises(InputError, match=r"items \[0\](?s:.)*2 images once"):
        model(**inputs)


def test_a_video_whose_frames_do_not_fill_the_hosts_steps_is_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    frames = inputs["generative_clips"][0].frames[:2]
    inputs["generative_clips"] = clips_from_tensors(FramePlan.per_frame, videos=[frames])
    with pytest.raises(InputError, match="2 generator frames but 2 host time steps"):
        model(**inputs)


def test_a_plan_that_does_not_fit_its_frames_is_an_error(model: Vega3DAdapter) -> None:
    clip = batch(model, VIDEO)["generative_clips"][0]
    with pytest.raises(InputError, match="does not have the frames of its plan"):
        dataclasses.replace(clip, plan=FramePlan.per_frame(range(3)))


@pytest.mark.parametrize("groups", [[[0, 0]], [[0], [0, 1]], [[2]], [[-1]]])
def test_groups_that_repeat_or_miss_an_image_are_an_error(
    groups: list[list[int]], model: Vega3DAdapter
) -> None:
    with pytest.raises(InputError, match="image_groups"):
        model(**grouped(batch(model, IMAGES), groups))


def test_images_of_differing_size_in_one_clip_are_an_error(model: Vega3DAdapter) -> None:
    with pytest.raises(MediaError, match=r"differ in size(?s:.)*54x36"):
        model(**grouped(batch(model, IMAGES), [[0, 1]]))


def test_tensors_of_version_0_1_are_taken_with_a_warning(model: Vega3DAdapter) -> None:
    inputs = batch(model, [[("image", 1, 4, 4)] * 3 + [("video", 4, 4, 4)]])
    old = as_tensors(inputs) | {"image_groups": [[2, 0]], "generative_plans": [FramePlan.per_frame(range(4))]}
    with torch.no_grad(), pytest.warns(DeprecationWarning, match="generative_clips"):
        assert torch.equal(model(**old).logits, model(**inputs).logits)
    with pytest.raises(InputError, match="one of them"):
        model.encode(**inputs, image_groups=[[2, 0]])
    with (
        pytest.raises(InputError, match="Missing pixel_values_videos"),
        pytest.warns(DeprecationWarning, match="generative_videos"),
    ):
        model.encode(generative_videos=old["generative_videos"])


def test_media_given_both_encoded_and_raw_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    with pytest.raises(InputError, match="given twice"):
        model(**inputs, encoding=model.encode(**inputs))


PARTS: dict[str, Any] = {
    "generative_clips": clips_from_tensors(
        FramePlan.per_frame, videos=[torch.zeros(4, 3, 36, 36, dtype=torch.uint8)]
    ),
    "image_grid_thw": torch.tensor([[1, 4, 4]]),
    "video_grid_thw": torch.tensor([[2, 4, 4]]),
}


@pytest.mark.parametrize("call", ["forward", "generate", "encode", "base_model"])
@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_medium_without_pixels_is_an_error(name: str, call: str, model: Vega3DAdapter) -> None:
    pixels = "pixel_values" if "image" in name else "pixel_values_videos"
    with pytest.raises(InputError, match=rf"Missing {pixels}\.(?s:.)*{name}"):
        getattr(model, call)(**batch(model, [[]]), **{name: PARTS[name]})


def test_frames_of_a_video_beside_pixels_of_an_image_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, IMAGES)
    inputs["generative_clips"] += PARTS["generative_clips"]
    with pytest.raises(InputError, match=r"Missing pixel_values_videos\."):
        model(**inputs)


@pytest.mark.parametrize("call", ["forward", "generate", "base_model"])
@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_medium_beside_an_encoding_is_an_error(
    name: str, call: str, model: Vega3DAdapter
) -> None:
    inputs = batch(model, VIDEO)
    encoding = model.encode(**inputs)
    text = {key: inputs[key] for key in ("input_ids", "attention_mask", "mm_token_type_ids")}
    with pytest.raises(InputError, match=rf"given twice(?s:.)*{name}"):
        getattr(model, call)(**text, encoding=encoding, **{name: PARTS[name]})


def test_outputs_of_the_hosts_encoders_beside_pixels_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    with pytest.raises(InputError, match=r"given twice(?s:.)*mm_encoder_outputs"):
        model(**inputs, mm_encoder_outputs=model.encode(**inputs).fresh())


def test_outputs_of_the_hosts_encoders_go_to_the_host_with_their_grids(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    outputs = model.encode(**inputs).fresh()
    rest = ("input_ids", "attention_mask", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts")
    with torch.no_grad():
        given = model(**{name: inputs[name] for name in rest}, mm_encoder_outputs=outputs)
        assert torch.equal(given.logits, model(**inputs).logits)


def test_embeddings_that_hold_the_media_already_need_their_grids_only(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    ids, grid = inputs["input_ids"], inputs["video_grid_thw"]
    embeds = model.get_input_embeddings()(ids)
    rest = {"attention_mask": inputs["attention_mask"], "mm_token_type_ids": inputs["mm_token_type_ids"]}
    options = {"max_new_tokens": 3, "do_sample": False}
    ours = model.generate(ids, inputs_embeds=embeds, video_grid_thw=grid, **rest, **options)
    alone = model.host.generate(ids, inputs_embeds=embeds, video_grid_thw=grid, **rest, **options)
    assert torch.equal(ours, alone)


def test_empty_lists_are_no_media(model: Vega3DAdapter) -> None:
    inputs = batch(model, [[]])
    empty = {name: [] for name in ("generative_clips", "generative_images", "image_groups")}
    with torch.no_grad():
        assert torch.equal(model(**inputs, **empty).logits, model(**inputs).logits)


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("kind", ["image", "video"])
def test_pixels_without_rows_are_no_media(kind: str, name: str, backbone: WanBackbone) -> None:
    model = wrap(make_host(name), backbone)
    inputs = batch(model, [[]])
    pixels = "pixel_values" if kind == "image" else "pixel_values_videos"
    empty = {pixels: torch.zeros(0, 1176), f"{kind}_grid_thw": torch.zeros(0, 3, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(model(**inputs, **empty).logits, model.host(**inputs).logits)
    tokens = model.generate(**inputs, **empty, max_new_tokens=2, do_sample=False)
    assert torch.equal(tokens, model.host.generate(**inputs, max_new_tokens=2, do_sample=False))


def test_pixels_with_an_empty_grid_and_a_grid_with_empty_pixels_are_errors(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    with pytest.raises(InputError, match="Missing video_grid_thw"):
        model(**inputs | {"video_grid_thw": torch.zeros(0, 3, dtype=torch.long)})
    with pytest.raises(InputError, match="Missing pixel_values_videos"):
        model(**inputs | {"pixel_values_videos": torch.zeros(0, 1176)})


def test_media_without_a_backbone_are_an_error_that_says_how_to_attach_one() -> None:
    model = Vega3DAdapter(make_host("qwen2_5_vl"), Vega3DConfig(backbone=WanConfig(channels=8)))
    with pytest.raises(BackboneError, match=r"WanBackbone\.from_pretrained"):
        model(**batch(model, VIDEO))


def test_token_types_without_token_ids_are_an_error(model: Vega3DAdapter) -> None:
    inputs = batch(model, VIDEO)
    embeds = model.get_input_embeddings()(inputs.pop("input_ids"))
    del inputs["mm_token_type_ids"]
    with pytest.raises(InputError, match="Missing mm_token_type_ids"):
        model(**inputs, inputs_embeds=embeds)


def test_an_unknown_host_is_named_with_the_known_families(backbone: WanBackbone) -> None:
    tiny = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(HostError, match=r"'bert'(?s:.)*qwen2_5_vl"):
        Vega3DAdapter(BertModel(tiny), backbone=backbone)


def test_a_host_that_takes_no_encoded_media_names_both_versions(backbone: WanBackbone) -> None:
    class Old(torch.nn.Module):
        config = make_host("qwen2_5_vl").config

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    with pytest.raises(HostError, match=r"got:.*transformers 5(?s:.)*transformers >= 5\.21"):
        Vega3DAdapter(Old(), backbone=backbone)


@pytest.mark.parametrize("name", HOSTS)
def test_a_compiled_host_is_unwrapped_and_says_so(name: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    with pytest.warns(UserWarning, match=r"host\.compile\(\)"):
        model = wrap(torch.compile(host, backend="eager"), backbone)
    assert model.host is host
    assert not any("_orig_mod" in key for key in model.state_dict())


def test_a_host_compiled_in_place_stays_compiled(backbone: WanBackbone) -> None:
    host = make_host("qwen2_5_vl")
    host.compile(backend="eager")
    model = wrap(host, backbone)
    assert model.host is host
    with torch.no_grad():
        assert torch.isfinite(model(**batch(model, VIDEO)).logits).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_peft_model_as_host_is_an_error_that_names_the_right_order(
    compiled: bool, backbone: WanBackbone
) -> None:
    host: Any = get_peft_model(make_host("qwen2_5_vl"), LoraConfig(target_modules=["q_proj"]))
    host = torch.compile(host, backend="eager") if compiled else host
    with pytest.raises(HostError, match=r"PeftModel(?s:.)*get_peft_model\(adapter"):
        wrap(host, backbone)


def test_an_unknown_fusion_is_named_with_the_nearest(backbone: WanBackbone) -> None:
    with pytest.raises(ConfigError, match="did you mean 'gated_residual'"):
        wrap(make_host("qwen2_5_vl"), backbone, "gated_residul")


def test_neither_a_backbone_nor_its_width_is_an_error() -> None:
    with pytest.raises(ConfigError, match="channels"):
        Vega3DAdapter(make_host("qwen2_5_vl"))


def test_a_config_that_names_no_backbone_cannot_be_wrapped() -> None:
    with pytest.raises(ConfigError, match=r"Missing path of the weights in config\.backbone"):
        Vega3DAdapter.wrap(make_host("qwen2_5_vl"))


def test_a_backbone_of_another_width_is_refused(model: Vega3DAdapter) -> None:
    other = Vega3DAdapter(make_host("qwen2_5_vl"), Vega3DConfig(backbone=WanConfig(channels=8)))
    with pytest.raises(BackboneError, match="8 channels"):
        other.backbone = model.backbone


def test_all_errors_share_one_base() -> None:
    assert issubclass(UnknownKeywordError, Vega3DError)
