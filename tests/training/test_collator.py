"""A batch of conversations, trained on what the assistant says and on nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import IterableDataset

from tests import media, processors, tiny
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.data import read_rows
from vega3d.errors import ConfigError, InputError, MediaNotFoundError
from vega3d.hosts import HostFamily
from vega3d.pico import pico_path
from vega3d.processing import Vega3DProcessor
from vega3d.training import IGNORED, Collator, assistant_labels
from vega3d.training.collator import require_own_batches

WORDS = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<|>"), min_size=1, max_size=12
)


@pytest.fixture(scope="module")
def processor() -> Vega3DProcessor:
    return Vega3DProcessor(processors.host_processor())


def turn(role: str, text: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": [*content, {"type": "text", "text": text}]}


def trained_text(processor: Vega3DProcessor, batch: dict[str, Any], row: int) -> str:
    labels = batch["labels"][row]
    return processor.decode(labels[labels != IGNORED])


@given(turns=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), system=st.none() | WORDS)
def test_what_is_trained_on_is_what_the_assistant_said(
    processor: Vega3DProcessor, turns: list[tuple[str, str]], system: str | None
) -> None:
    messages = [turn("system", system)] if system else []
    for asked, answered in turns:
        messages += [turn("user", asked), turn("assistant", answered)]
    batch = Collator(processor)([{"messages": messages}])
    assert trained_text(processor, batch, 0) == "".join(f"{answered}<|im_end|>" for _, answered in turns)


def test_labels_are_the_tokens_themselves_or_ignored(processor: Vega3DProcessor) -> None:
    batch = Collator(processor)([{"messages": [turn("user", "Hi"), turn("assistant", "Hello")]}])
    labels, ids = batch["labels"], batch["input_ids"]
    assert bool(((labels == ids) | (labels == IGNORED)).all())
    assert bool((labels[batch["attention_mask"] == 0] == IGNORED).all())


@pytest.mark.parametrize("asked", ["assistant", "assistant\nSay this", "\nassistant\n"])
def test_a_user_who_says_assistant_is_not_trained_on(processor: Vega3DProcessor, asked: str) -> None:
    batch = Collator(processor)([{"messages": [turn("user", asked), turn("assistant", "No.")]}])
    assert trained_text(processor, batch, 0) == "No.<|im_end|>"


def test_rows_of_every_kind_stand_in_one_batch(tmp_path: Path, processor: Vega3DProcessor) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 12)
    picture = {"type": "image", "image": media.photo()}
    rows = [
        {"messages": [turn("user", "Text alone?"), turn("assistant", "Yes, and long enough to matter.")]},
        {"messages": [turn("user", "One?", picture), turn("assistant", "One.")]},
        {"messages": [turn("user", "Two?", picture, picture), turn("assistant", "Two.")]},
        {"messages": [turn("user", "Clip?", {"type": "video", "video": clip}), turn("assistant", "Yes.")]},
    ]
    batch = Collator(processor, sampling={"nframes": 4})(rows)
    assert [trained_text(processor, batch, row)[:4] for row in range(4)] == ["Yes,", "One.", "Two.", "Yes."]
    kinds = [(clip.modality, len(clip.frames)) for clip in batch["generative_clips"]]
    assert kinds.count(("video", 4)) == 1
    assert sum(frames for kind, frames in kinds if kind == "image") == 3


def test_a_wrapped_model_learns_from_a_batch(tmp_path: Path) -> None:
    host = tiny.qwen2_5_vl()
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(block=0, pixels=32 * 32))
    model = Vega3DAdapter(host, Vega3DConfig(backbone=wan.config), wan)
    own = processors.host_processor("qwen2_5_vl", host.config.vision_config.patch_size)
    collate = Collator(Vega3DProcessor(own, model.vega3d_config))
    picture = {"type": "image", "image": media.photo(48, 48)}
    batch = collate([{"messages": [turn("user", "What?", picture), turn("assistant", "A chair.")]}])
    optimizer = torch.optim.Adam([*model.projector.parameters(), *model.fusion.parameters()], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_annotation_rows_are_taken_as_they_are_read(tmp_path: Path, processor: Vega3DProcessor) -> None:
    media.photo().save(tmp_path / "a.png")
    row = {
        "image": "a.png",
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A lamp."}],
    }
    (tmp_path / "train.json").write_text(json.dumps([row]))
    batch = Collator(processor)(list(read_rows(tmp_path / "train.json")))
    assert trained_text(processor, batch, 0) == "A lamp.<|im_end|>"


def test_rows_of_a_table_are_what_they_were_before_it(tmp_path: Path, processor: Vega3DProcessor) -> None:
    clip, picture = media.write_video(tmp_path / "a.mp4", 12), str(tmp_path / "a.png")
    media.photo().save(picture)
    seen = [
        {"type": "video", "video": clip, "nframes": 4},
        {"type": "image", "image": picture, "marks": [{"box": [0, 0, 9, 9], "colour": "blue"}]},
    ]
    asked = {"role": "user", "content": [{"type": "image"}]}
    rows: list[dict[str, Any]] = [
        {"messages": [asked, turn("assistant", "A photo.")], "images": [picture]},
        *({"messages": [turn("user", "What?", entry), turn("assistant", "That.")]} for entry in seen),
    ]
    table = Dataset.from_list(rows)
    assert table[1]["images"] is None
    assert table[1]["messages"][0]["content"][0]["image"] is None
    ours, theirs = Collator(processor)(list(table)), Collator(processor)(rows)
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["labels"], theirs["labels"])
    assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
    assert torch.equal(ours["pixel_values_videos"], theirs["pixel_values_videos"])


# ---------------------------------------------------------------- what cannot be trained on


def test_a_conversation_without_an_answer_is_an_error(processor: Vega3DProcessor) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        Collator(processor)([{"messages": [turn("user", "Hello?")]}])


def test_a_tokenizer_without_turns_is_an_error() -> None:
    class Plain:
        unk_token_id = 0

        def convert_tokens_to_ids(self, token: str) -> int:
            return 0

    with pytest.raises(InputError, match="mark turns"):
        assistant_labels(torch.zeros(1, 4, dtype=torch.long), Plain())


def test_the_turns_are_marked_as_the_hosts_family_marks_them(
    processor: Vega3DProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostFamily, "turn_tokens", ("<|vision_start|>", "<|vision_end|>"))
    with pytest.raises(InputError, match="nothing to train on"):
        Collator(processor)([{"messages": [turn("user", "Hi"), turn("assistant", "Hello")]}])


def test_a_missing_picture_is_an_error_and_never_another_row(processor: Vega3DProcessor) -> None:
    gone = {"type": "image", "image": "/nowhere/a.png"}
    with pytest.raises(MediaNotFoundError, match=r"nowhere/a\.png"):
        Collator(processor)([{"messages": [turn("user", "What?", gone), turn("assistant", "?")]}])


def long_row(answer: int, *content: Any) -> dict[str, Any]:
    return {"messages": [turn("user", "What?", *content), turn("assistant", "x" * answer)]}


def test_a_conversation_that_is_too_long_names_itself(processor: Vega3DProcessor) -> None:
    with pytest.raises(InputError, match="length of row 1 of the batch"):
        Collator(processor, max_length=200)([long_row(5), long_row(500)])


def test_truncation_takes_text_from_the_end(processor: Vega3DProcessor) -> None:
    batch = Collator(processor, max_length=200, overlong="truncate")([long_row(500), long_row(5)])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape == (2, 200)
    assert set(trained_text(processor, batch, 0)) == {"x"}
    assert trained_text(processor, batch, 1) == "xxxxx<|im_end|>"


def test_truncation_never_cuts_a_picture(processor: Vega3DProcessor) -> None:
    picture = {"type": "image", "image": media.photo(400, 300)}
    whole = Collator(processor)([long_row(5, picture)])["input_ids"].shape[1]
    with pytest.raises(InputError, match="Invalid length"):
        Collator(processor, max_length=whole // 2, overlong="truncate")([long_row(5, picture)])


def test_truncation_leaves_an_answer_or_is_an_error(processor: Vega3DProcessor) -> None:
    asked = {"messages": [turn("user", "w" * 400), turn("assistant", "Yes.")]}
    with pytest.raises(InputError, match="Invalid length"):
        Collator(processor, max_length=200, overlong="truncate")([asked])


class Rows(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(("dispatch", "iterable", "processes"), [(True, False, 2), (None, True, 2)])
def test_batches_that_one_process_cuts_up_are_refused(
    dispatch: bool | None, iterable: bool, processes: int
) -> None:
    accelerator = SimpleNamespace(dispatch_batches=dispatch, num_processes=processes)
    rows: Any = Rows() if iterable else [1, 2]
    with pytest.raises(ConfigError, match=r"dispatch_batches(?s:.)*False"):
        require_own_batches(accelerator, rows)
    require_own_batches(SimpleNamespace(dispatch_batches=dispatch, num_processes=1), rows)
    require_own_batches(SimpleNamespace(dispatch_batches=False, num_processes=processes), rows)
