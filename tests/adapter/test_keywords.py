"""The adapter takes the keywords that its host reads, under all their names, and refuses every other."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from tests import processors
from tests.adapter.conftest import wrap
from tests.tiny import HOSTS, for_host, make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.errors import InputError, UnknownKeywordError
from vega3d.hosts.keywords import forward_keywords, generate_keywords, reject_unknown

VIDEO = [[("video", 3, 4, 4)]]
GREEDY = {"max_new_tokens": 3, "do_sample": False}
READ_BY_FORWARD: dict[str, dict[str, Any]] = {
    "named by the text model only": {"use_cache": False},
    "read by a decorator": {"return_dict": True},
    "read by every transformers model": {"output_hidden_states": True},
    "read by the loss": {"ignore_index": 7},
    "computed by the host today": {"cache_position": torch.arange(3), "rope_deltas": torch.zeros(1, 1)},
}


@pytest.fixture
def model(backbone: WanBackbone) -> Vega3DAdapter:
    return wrap(make_host("qwen2_5_vl"), backbone)


@pytest.mark.parametrize("call", ["forward", "base_model"])
@pytest.mark.parametrize("keywords", READ_BY_FORWARD.values(), ids=READ_BY_FORWARD)
@pytest.mark.parametrize("name", HOSTS)
def test_forward_takes_what_the_host_takes(
    name: str, keywords: dict[str, Any], call: str, backbone: WanBackbone
) -> None:
    host = make_host(name)
    batch = make_batch(host, VIDEO)
    with torch.no_grad():
        ours = getattr(wrap(host, backbone), call)(**batch, **keywords)
        alone = getattr(host, call)(**for_host(batch), **keywords)
    assert torch.equal(ours[0], alone[0])
    assert list(ours) == list(alone)


@pytest.mark.parametrize("call", ["forward", "base_model", "generate", "encode"])
@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("use_cahce", "use_cache"),
        ("generative_clisp", "generative_clips"),
        ("past_key_value", "past_key_values"),
        ("pixel_value_videos", "pixel_values_videos"),
    ],
)
def test_a_typo_names_the_keyword_that_was_meant(
    typo: str, meant: str, name: str, call: str, backbone: WanBackbone
) -> None:
    with pytest.raises(UnknownKeywordError, match=f"{typo}(?s:.)*did you mean '{meant}'"):
        getattr(wrap(make_host(name), backbone), call)(**{typo: torch.zeros(1)})


def test_generate_takes_options_that_only_its_body_reads(model: Vega3DAdapter) -> None:
    batch = make_batch(model.host, VIDEO)
    options = GREEDY | {"stop_strings": ["never"], "tokenizer": processors.tokenizer()}
    assert torch.equal(model.generate(**batch, **options), model.host.generate(**for_host(batch), **options))


def test_generate_takes_the_arguments_of_a_custom_loop(model: Vega3DAdapter) -> None:
    def loop(host: Any, input_ids: Any, logits_processor: Any, *_: Any, offset: int = 0, **__: Any) -> Any:
        return input_ids + offset

    batch = make_batch(model.host, VIDEO)
    tokens = model.generate(**batch, custom_generate=loop, offset=1, max_new_tokens=1)
    assert torch.equal(tokens, batch["input_ids"] + 1)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("cache_position", "remove it"),
        ("rope_deltas", "remove it"),
        ("return_dict", "did you mean 'return_dict_in_generate'"),
    ],
)
def test_generate_refuses_by_a_typed_error_what_the_hosts_generate_refuses(
    name: str, advice: str, model: Vega3DAdapter
) -> None:
    batch = make_batch(model.host, VIDEO)
    with pytest.raises(ValueError, match=name):
        model.host.generate(**for_host(batch), **{name: torch.arange(3)}, **GREEDY)
    with pytest.raises(UnknownKeywordError, match=rf"'{name}'(?s:.)*{advice}"):
        model.generate(**batch, **{name: torch.arange(3)}, **GREEDY)


class Renamed:
    """Stand-in for a host of another transformers version; reads ``cache`` under one name only."""

    def __init__(self, forward: Any) -> None:
        self.forward = self.generate = forward


def test_an_older_name_is_taken_only_while_a_decorator_translates_it() -> None:
    def forward(input_ids: Any = None, cache: Any = None, **kwargs: Any) -> None: ...

    def translated(function: Any, old_name: str) -> Any:
        @functools.wraps(function)
        def wrapper(**kwargs: Any) -> Any:
            return function(cache=kwargs.pop(old_name, None), **kwargs)

        return wrapper

    bare, decorated = Renamed(forward), Renamed(translated(forward, "past_key_values"))
    assert "past_key_values" not in forward_keywords(bare) | generate_keywords(bare)
    assert "past_key_values" in forward_keywords(decorated) & generate_keywords(decorated)


def test_a_name_that_was_renamed_is_answered_with_the_other() -> None:
    class Older(torch.nn.Module):
        def forward(self, input_ids: Any = None, past_key_values: Any = None) -> None: ...

    with pytest.raises(UnknownKeywordError, match="did you mean 'past_key_values'"):
        reject_unknown("forward", {"cache": None}, forward_keywords(Older()))


def test_a_host_whose_forward_has_no_rest_takes_its_own_names_only() -> None:
    class Strict(torch.nn.Module):
        def forward(self, input_ids: Any = None) -> None: ...

    assert forward_keywords(Strict()) == {"input_ids"}


@pytest.mark.parametrize("name", HOSTS)
def test_generate_takes_token_ids_in_first_place_and_as_inputs(name: str, backbone: WanBackbone) -> None:
    host = make_host(name)
    batch = make_batch(host, VIDEO)
    ids = batch.pop("input_ids")
    model = wrap(host, backbone)
    expected = host.generate(ids, **for_host(batch), **GREEDY)
    assert torch.equal(model.generate(ids, **batch, **GREEDY), expected)
    assert torch.equal(model.generate(inputs=ids, **batch, **GREEDY), expected)
    del batch["mm_token_type_ids"]  # derived from the ids, wherever they stand
    assert torch.equal(model.generate(ids, **batch, **GREEDY), expected)
    assert torch.equal(model.generate(inputs=ids, **batch, **GREEDY), expected)


def test_generate_takes_further_arguments_by_place(model: Vega3DAdapter) -> None:
    batch = make_batch(model.host, VIDEO)
    ids, options = batch.pop("input_ids"), GenerationConfig(max_new_tokens=2, do_sample=False)
    assert model.generate(ids, options, **batch).shape[1] == ids.shape[1] + 2


def test_token_ids_given_twice_are_an_error(model: Vega3DAdapter) -> None:
    batch = make_batch(model.host, VIDEO)
    with pytest.raises(InputError, match="inputs and input_ids"):
        model.generate(batch["input_ids"], **batch, **GREEDY)
