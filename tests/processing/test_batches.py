"""A batch of conversations answers as its rows do: padding stands where it changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests import media, processors, tiny
from tests.adapter.conftest import SETTINGS, wrap
from tests.processing.helpers import image, user, video
from vega3d import Vega3DAdapter, WanBackbone
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor

ROWS = [user("Hello?"), user("A question that is rather longer than the other one?")]


@pytest.fixture(scope="module")
def backbone() -> WanBackbone:
    """Pico's Wan, cut after its second block."""
    return WanBackbone.from_pretrained(pico_path("wan"), config=SETTINGS)


def padded_on(batch: Any) -> str:
    """The side of the shorter first row that is padded."""
    first, last = batch["attention_mask"][0, [0, -1]].tolist()
    assert first + last == 1
    return "right" if first else "left"


def trained(host: Any, backbone: WanBackbone) -> Vega3DAdapter:
    """A wrapped host whose projector contributes."""
    adapter = wrap(host, backbone)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(adapter.projector.down.weight, std=0.5)
    return adapter


@pytest.mark.parametrize("own", ["left", "right"])
def test_a_batch_that_is_to_be_answered_is_padded_on_the_left(qwen: Vega3DProcessor, own: str) -> None:
    qwen.tokenizer.padding_side = own
    assert padded_on(qwen.apply_chat_template(ROWS, add_generation_prompt=True)) == "left"
    assert padded_on(qwen.apply_chat_template(ROWS)) == "left"  # the prompt is added by default
    assert qwen.tokenizer.padding_side == own


def test_a_batch_whose_last_message_goes_on_is_padded_on_the_left(qwen: Vega3DProcessor) -> None:
    rows = [[*row, {"role": "assistant", "content": "It is"}] for row in ROWS]
    batch = qwen.apply_chat_template(rows, add_generation_prompt=False, continue_final_message=True)
    assert padded_on(batch) == "left"


@pytest.mark.parametrize(
    "told",
    [
        {"padding_side": "right"},
        {"text_kwargs": {"padding_side": "right"}},
        {"processor_kwargs": {"padding_side": "right"}},
        {"processor_kwargs": {"text_kwargs": {"padding_side": "right"}}},
    ],
    ids=str,
)
def test_a_side_that_is_given_comes_first(qwen: Vega3DProcessor, told: dict[str, Any]) -> None:
    assert padded_on(qwen.apply_chat_template(ROWS, **told)) == "right"


@pytest.mark.parametrize("own", ["left", "right"])
def test_a_batch_with_its_answers_is_padded_as_the_tokenizer_does(qwen: Vega3DProcessor, own: str) -> None:
    qwen.tokenizer.padding_side = own
    rows = [[*row, {"role": "assistant", "content": "Yes."}] for row in ROWS]
    assert padded_on(qwen.apply_chat_template(rows, add_generation_prompt=False)) == own


@pytest.mark.parametrize("family", list(processors.HOSTS))
def test_a_batch_answers_as_its_rows(family: str, backbone: WanBackbone, clip: str, short: str) -> None:
    host = tiny.make_host(family)
    adapter = trained(host, backbone)
    processor = Vega3DProcessor(processors.host_processor(family, host.config.vision_config.patch_size))
    rows = [
        user(image(media.photo(), clip="a"), image(media.photo(seed=1), clip="a"), "Same place?"),
        user("Only text."),
        user(video(clip, nframes=4), video(short), image(media.photo(50, 70)), "And?"),
        user(video([media.frame(number) for number in range(3)], fps=2.0), "An odd number."),
    ]
    options = {"max_new_tokens": 4, "do_sample": False}
    batch = processor.apply_chat_template(rows, add_generation_prompt=True)
    with torch.no_grad():
        logits = adapter(**batch).logits[:, -1]
        answers = adapter.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
        for row, conversation in enumerate(rows):
            alone = processor.apply_chat_template(conversation, add_generation_prompt=True)
            assert torch.allclose(logits[row], adapter(**alone).logits[0, -1], atol=1e-5), row
            answer = adapter.generate(**alone, **options)[0, alone["input_ids"].shape[1] :]
            assert answer.tolist() == answers[row].tolist(), row
