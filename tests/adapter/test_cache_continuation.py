"""A second turn continues from the cache of the first, as it does with the bare host."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import pytest
import torch
from transformers import DynamicCache, Qwen2VLForConditionalGeneration

from tests.adapter.conftest import wrap
from tests.adapter.test_identity import trained
from tests.tiny import HOSTS, Media, for_host, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.errors import InputError

ROWS: list[list[Media]] = [[("video", 3, 4, 4), ("image", 1, 4, 4)], [("image", 1, 2, 4)]]
ONE: list[list[Media]] = [[("video", 3, 4, 4)]]
QUESTION = [17, 23, 42]
NAMES = ["past_key_values"]
if "cache" in inspect.signature(Qwen2VLForConditionalGeneration.forward).parameters:
    NAMES.append("cache")  # its name since transformers 5.24, which takes the older one as well
GREEDY = {"max_new_tokens": 4, "do_sample": False}


def first_turn(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, Any]:
    """(B, L) tokens so far with the next question, and the cache of the first turn."""
    output = model.generate(**batch, **GREEDY, return_dict_in_generate=True)
    question = torch.tensor([QUESTION] * len(output.sequences))
    return torch.cat([output.sequences, question], dim=1), output[NAMES[-1]]


def mask_of(batch: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    new = ids.shape[1] - batch["attention_mask"].shape[1]
    return torch.cat([batch["attention_mask"], torch.ones(len(ids), new, dtype=torch.long)], dim=1)


def types_of(batch: dict[str, Any], ids: torch.Tensor) -> torch.Tensor:
    new = ids.shape[1] - batch["mm_token_type_ids"].shape[1]
    return torch.nn.functional.pad(batch["mm_token_type_ids"], (0, new))


def second_turn(model: Any, batch: dict[str, Any], name: str, **more: Any) -> torch.Tensor:
    ids, cache = first_turn(model, batch)
    text = {"input_ids": ids, "attention_mask": mask_of(batch, ids), name: cache}
    return model.generate(**text, **more, **GREEDY)


@pytest.mark.parametrize("cache", NAMES)
@pytest.mark.parametrize("name", HOSTS)
def test_generate_goes_on_from_a_cache_as_the_host_does(name: str, cache: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, ROWS)
    expected = second_turn(host, for_host(batch), cache)
    assert torch.equal(second_turn(wrap(host, backbone), batch, cache), expected)


@pytest.mark.parametrize("name", HOSTS)
def test_grids_and_token_types_of_consumed_media_may_stay(name: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, ONE)
    model = wrap(host, backbone)
    expected = second_turn(host, for_host(batch), "past_key_values")
    ids, cache = first_turn(model, batch)
    types = types_of(batch, ids)
    rest = {"video_grid_thw": batch["video_grid_thw"], "mm_token_type_ids": types}
    mask = mask_of(batch, ids)
    host.model.rope_deltas = None  # another conversation in between: positions are made from the grids
    tokens = model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, **rest, **GREEDY)
    assert torch.equal(tokens, expected)


@pytest.mark.parametrize("cache", NAMES)
@pytest.mark.parametrize("name", HOSTS)
def test_forward_goes_on_from_a_cache_as_the_host_does(name: str, cache: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, ONE)
    model = wrap(host, backbone)
    ids, past = first_turn(model, batch)
    seen = past.get_seq_length()
    positions = {"cache_position": torch.arange(seen, ids.shape[1]), "rope_deltas": host.model.rope_deltas}
    with torch.no_grad():
        ours = model(input_ids=ids[:, seen:], **{cache: copy.deepcopy(past)}, **positions)
        alone = host(input_ids=ids[:, seen:], **{cache: copy.deepcopy(past)}, **positions)
    assert torch.equal(ours.logits, alone.logits)


@pytest.mark.parametrize("name", HOSTS)
def test_a_trained_adapters_second_turn_is_that_of_the_whole_conversation(
    name: str, backbone: WanBackbone
) -> None:
    model = trained(wrap(make_host(name), backbone))
    batch = make_batch(model.host, ONE)
    ids, past = first_turn(model, batch)
    seen = past.get_seq_length()
    types = types_of(batch, ids)
    whole = batch | {"input_ids": ids, "attention_mask": mask_of(batch, ids), "mm_token_type_ids": types}
    with torch.no_grad():
        going_on = model(input_ids=ids[:, seen:], past_key_values=past).logits
        expected = model(**whole).logits[:, seen:]
    assert torch.allclose(going_on, expected, atol=1e-5)


def test_frames_of_consumed_media_are_an_error(backbone: WanBackbone) -> None:
    model = wrap(make_host("qwen2_5_vl"), backbone)
    batch = make_batch(model.host, ONE)
    clips = batch["generative_clips"]
    with pytest.raises(InputError, match=r"Missing pixel_values_videos(?s:.)*generative_clips"):
        second_turn(model, batch, "past_key_values", generative_clips=clips)


def test_grids_beside_an_empty_cache_are_an_error(backbone: WanBackbone) -> None:
    model: Vega3DAdapter = wrap(make_host("qwen2_5_vl"), backbone)
    batch = make_batch(model.host, ONE)
    rest = {name: batch[name] for name in ("input_ids", "attention_mask", "video_grid_thw")}
    with pytest.raises(InputError, match="Missing pixel_values_videos"):
        model.generate(**rest, past_key_values=DynamicCache(), **GREEDY)
