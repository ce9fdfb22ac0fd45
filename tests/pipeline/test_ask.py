"""A model is loaded once and asked as its neighbours are: lists, conversations, streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import vega3d
from tests.media import photo, write_video
from vega3d import Pipeline

QUESTIONS = ["How many chairs are there?", "Is there a table in the room?"]
SHORT: dict[str, Any] = {"nframes": 2, "max_new_tokens": 6}


@pytest.fixture(scope="module")
def pico() -> Pipeline:
    return vega3d.load("pico")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_video(folder / f"{count}.mp4", count) for count in (4, 9)]


@pytest.fixture
def encoded(pico: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Each batch that is encoded."""
    batches: list[dict[str, Any]] = []
    encode = pico.adapter.encode

    def noting(**inputs: Any) -> Any:
        batches.append(inputs)
        return encode(**inputs)

    monkeypatch.setattr(pico.adapter, "encode", noting)
    return batches


def test_several_questions_have_the_answers_of_each_alone_and_encode_the_clip_once(
    pico: Pipeline, clips: list[str], encoded: list[Any]
) -> None:
    together = pico.ask(clips[0], QUESTIONS, **SHORT)
    assert len(encoded) == 1
    assert [answer.text for answer in together] == [pico.ask(clips[0], q, **SHORT).text for q in QUESTIONS]
    assert [answer.question for answer in together] == QUESTIONS


def test_a_list_of_clips_gives_a_list_of_answers(pico: Pipeline, clips: list[str]) -> None:
    answers = pico.ask(clips, QUESTIONS[0], **SHORT)
    assert [answer.text for answer in answers] == [pico.ask(c, QUESTIONS[0], **SHORT).text for c in clips]
    assert [[answer.question for answer in row] for row in pico.ask(clips, QUESTIONS, **SHORT)] == [
        QUESTIONS
    ] * 2


def test_a_later_turn_is_answered_with_the_whole_conversation(
    pico: Pipeline, clips: list[str], encoded: list[Any]
) -> None:
    chat = pico.chat(clips[1], nframes=2)
    first = chat.ask(QUESTIONS[0], max_new_tokens=6)
    second = chat.ask(QUESTIONS[1], max_new_tokens=6)
    assert len(encoded) == 1
    content: list[dict[str, Any]] = [
        {"type": "video", "video": clips[1], "nframes": 2},
        {"type": "text", "text": QUESTIONS[0]},
    ]
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": [{"type": "text", "text": first.text}]},
        {"role": "user", "content": [{"type": "text", "text": QUESTIONS[1]}]},
    ]
    assert chat.messages[:3] == messages
    inputs = pico.processor.apply_chat_template(messages)
    tokens = pico.adapter.generate(**inputs, max_new_tokens=6, do_sample=False)
    alone = pico.processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert second.text == alone[0].strip()


def test_an_answer_is_streamed_in_pieces(pico: Pipeline, clips: list[str]) -> None:
    pieces: list[str] = []
    answer = pico.ask(clips[0], QUESTIONS[0], nframes=2, max_new_tokens=12, stream=pieces.append)
    assert "".join(pieces).strip() == answer.text == str(answer)
    assert len(pieces) > 1


def test_a_photo_and_a_single_frame_are_answered(
    pico: Pipeline, clips: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    photo(80, 60).save(tmp_path / "photo.png")
    of_photo = pico.ask("~/photo.png", QUESTIONS[0], max_new_tokens=2)
    of_frame = pico.ask(clips[1], QUESTIONS[0], nframes=1, max_new_tokens=2)
    assert of_photo.encoding.reports[0].modality == "image"
    assert of_frame.plan.host == (4,)
    assert len(of_photo.frames) == len(of_frame.frames) == 1


def test_the_text_of_models_answers_and_reports_has_at_most_twelve_lines(
    pico: Pipeline, clips: list[str]
) -> None:
    answer = pico.ask(clips[0], QUESTIONS[0], **SHORT)
    report = answer.encoding.reports[0]
    for shown in (pico, pico.adapter, pico.processor, answer, answer.encoding, report, pico.chat(clips[0])):
        assert len(repr(shown).splitlines()) <= 12
        assert max(map(len, repr(shown).splitlines())) < 300
    for word in ("pico", "qwen2_5_vl", "wan", "frame", "gated_residual", "untrained"):
        assert word in repr(pico.adapter)
        assert word in repr(answer)
    assert answer.text in repr(answer)
    assert "gate" in repr(report)


def test_a_trained_model_says_so(pico: Pipeline, tmp_path: Path) -> None:
    pico.adapter.save_pretrained(tmp_path)
    loaded = vega3d.load(str(tmp_path))
    assert "untrained" not in repr(loaded.adapter)
    adapter = vega3d.load("pico").adapter.train()
    adapter(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()
    assert adapter.trained


def test_a_host_of_picos_architecture_is_taken_for_pico(pico: Pipeline) -> None:
    assert pico.is_pico
