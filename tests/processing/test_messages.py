"""The forms of a message that are read, and what is refused."""

from __future__ import annotations

import base64
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import media
from tests.processing.helpers import image, prompt, user, video
from vega3d.errors import InputError, MediaError, MediaNotFoundError, UnknownKeywordError
from vega3d.inputs.messages import parse
from vega3d.processing import Vega3DProcessor


def entries(path: Path) -> list[dict[str, Any]]:
    """One picture in every form of an entry."""
    coded = base64.b64encode(path.read_bytes()).decode()
    return [
        {"type": "image", "image": str(path)},
        {"type": "image", "image": f"file://{path}"},
        {"type": "image", "image": path},
        {"type": "image", "path": str(path)},
        {"type": "image", "url": str(path)},
        {"type": "image", "base64": coded},
        {"type": "image", "image": f"data:image/png;base64,{coded}"},
        {"type": "image_url", "image_url": str(path)},
        {"type": "image_url", "image_url": {"url": str(path)}},
        {"image": str(path)},
        {"image": media.PIL.Image.open(path)},
        {"image": np.array(media.PIL.Image.open(path))},
    ]


def test_a_picture_is_the_same_in_every_form(qwen: Vega3DProcessor, picture: Path) -> None:
    batches = [qwen.apply_chat_template(user(entry, "?")) for entry in entries(picture)]
    for batch in batches[1:]:
        assert torch.equal(batch["pixel_values"], batches[0]["pixel_values"])
        assert torch.equal(batch["input_ids"], batches[0]["input_ids"])


def test_a_video_is_the_same_in_every_form(qwen: Vega3DProcessor, clip: str) -> None:
    forms = [
        {"type": "video", "video": clip},
        {"type": "video", "video": f"file://{clip}"},
        {"type": "video", "path": clip},
        {"type": "video", "url": Path(clip)},
        {"video": clip},
    ]
    batches = [qwen.apply_chat_template(user({**form, "fps": 2.0}, "?")) for form in forms]
    assert all(torch.equal(b["pixel_values_videos"], batches[0]["pixel_values_videos"]) for b in batches)


def test_frames_are_the_same_as_list_array_or_tensor(qwen: Vega3DProcessor) -> None:
    frames = [media.frame(number) for number in range(4)]
    stacked = np.stack(frames)
    forms: list[Any] = [
        frames,
        tuple(media.PIL.Image.fromarray(frame) for frame in frames),
        stacked,
        torch.from_numpy(stacked).permute(0, 3, 1, 2),
        torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255,
    ]
    batches = [qwen.apply_chat_template(user(video(form, fps=2.0), "?")) for form in forms]
    assert all(torch.equal(b["pixel_values_videos"], batches[0]["pixel_values_videos"]) for b in batches)


def test_a_list_of_paths_is_a_video(qwen: Vega3DProcessor, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        media.photo(seed=number).save(path)
    batch = qwen.apply_chat_template(
        user(video([paths[0], "file://" + paths[1], paths[2]], sample_fps=1.0), "?")
    )
    assert batch["generative_clips"][0].frames.shape == (3, 3, 60, 80)
    assert float(batch["second_per_grid_ts"][0]) == pytest.approx(2.0)


def test_a_folder_of_pictures_is_sampled_like_a_video(qwen: Vega3DProcessor, tmp_path: Path) -> None:
    for number in range(12):
        media.PIL.Image.fromarray(media.frame(number)).save(tmp_path / f"{number}.png")
    batch = qwen.apply_chat_template(user(video(str(tmp_path), raw_fps=8.0, nframes=4), "?"))
    assert [media.number_of(frame) for frame in batch["generative_clips"][0].frames] == [0, 4, 7, 11]


def test_plain_strings_are_content(qwen: Vega3DProcessor) -> None:
    system = {"role": "system", "content": "Be brief."}
    batch = qwen.apply_chat_template([system, {"role": "user", "content": "Hello?"}])
    assert "Be brief." in qwen.decode(batch["input_ids"][0])
    assert "Hello?" in qwen.decode(batch["input_ids"][0])


def test_an_answer_may_follow(qwen: Vega3DProcessor, picture: Path) -> None:
    messages = [*user(image(picture), "What?"), {"role": "assistant", "content": "A picture."}]
    text = qwen.apply_chat_template(messages, add_generation_prompt=False, tokenize=False)
    assert text.endswith("assistant\nA picture.<|im_end|>\n")


def test_text_is_rendered_but_no_media_are_read_without_tokenizing(qwen: Vega3DProcessor) -> None:
    messages = user(image("nowhere.png"), "What?")
    assert qwen.apply_chat_template(messages, tokenize=False) == prompt(qwen.processor, messages)
    assert isinstance(qwen.apply_chat_template([messages, messages], tokenize=False), list)


def test_input_ids_alone_can_be_asked_for(qwen: Vega3DProcessor) -> None:
    assert isinstance(qwen.apply_chat_template(user("Hello?"), return_dict=False), torch.Tensor)


def test_variables_of_the_template_reach_it(qwen: Vega3DProcessor, picture: Path) -> None:
    text = qwen.apply_chat_template(user(image(picture), "?"), tokenize=False, add_vision_id=True)
    assert "Picture: <|vision_start|>" in text


def test_keywords_of_the_host_s_processor_reach_it(qwen: Vega3DProcessor, picture: Path) -> None:
    messages = user(image(picture), "?")
    direct = qwen.apply_chat_template(messages, do_normalize=False)
    nested = qwen.apply_chat_template(messages, processor_kwargs={"images_kwargs": {"do_normalize": False}})
    assert float(direct["pixel_values"].min()) >= 0
    assert torch.equal(direct["pixel_values"], nested["pixel_values"])


def test_sampling_keys_of_a_message_come_before_those_of_the_call(qwen: Vega3DProcessor, clip: str) -> None:
    rows = user(video(clip, nframes=4), video(clip), "?")
    batch = qwen.apply_chat_template(rows, fps=4.0)
    assert [len(clip.plan.host) for clip in batch["generative_clips"]] == [4, 6]
    assert len(qwen.apply_chat_template(rows, num_frames=6)["generative_clips"][1].plan.host) == 6


def test_a_stretch_of_a_video_keeps_its_true_rate(qwen: Vega3DProcessor, clip: str) -> None:
    messages = user(video(clip, video_start=0.5, video_end=1.25, nframes=4), "?")
    batch = qwen.apply_chat_template(messages)
    assert batch["generative_clips"][0].plan.host == (4, 6, 8, 10)
    assert float(batch["second_per_grid_ts"][0]) == pytest.approx(2 / (4 / 7 * 8))


def test_frames_without_a_rate_warn_that_two_a_second_are_assumed(qwen: Vega3DProcessor) -> None:
    with pytest.warns(UserWarning, match=r"clip of 2 frames: 2\.0 frames a second are assumed"):
        batch = qwen.apply_chat_template(user(video([media.photo(), media.photo()]), "?"))
    assert float(batch["second_per_grid_ts"][0]) == pytest.approx(1.0)  # and not 0.083, which 24 would give


def test_frames_with_a_rate_warn_of_nothing(qwen: Vega3DProcessor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        qwen.apply_chat_template(user(video([media.photo(), media.photo()], fps=1.0), "?"))


def test_frames_may_come_with_metadata_of_their_own(qwen: Vega3DProcessor) -> None:
    frames = np.stack([media.frame(number) for number in range(4)])
    metadata = {"fps": 30.0, "total_num_frames": 300, "frames_indices": [0, 100, 200, 299]}
    batch = qwen("<|video_pad|>", videos=frames, video_metadata=metadata)
    assert float(batch["second_per_grid_ts"][0]) == pytest.approx(2 / (4 / 300 * 30))


def test_a_list_of_pictures_is_one_video_and_a_list_of_lists_several(qwen: Vega3DProcessor) -> None:
    photos = [media.photo(seed=seed) for seed in range(4)]
    assert len(qwen("<|video_pad|>", videos=photos, fps=2.0)["generative_clips"]) == 1
    batch = qwen("<|video_pad|>" * 2, videos=[photos[:2], photos[2:]], fps=[2.0, 4.0])
    assert batch["second_per_grid_ts"].tolist() == pytest.approx([1.0, 0.5])


# --- keys without a value, as tables have them for absent ones

ABSENT = {"image": None, "video": None, "text": None, "fps": None, "nframes": None, "max_pixels": None}
ABSENT |= {"clip": None, "marks": None, "url": None, "whatever_other_rows_have": None}


def test_a_key_of_an_entry_whose_value_is_none_is_ignored(qwen: Vega3DProcessor, picture: Path) -> None:
    bare = user(image(str(picture)), video([str(picture)] * 2, fps=1.0), "Both?")
    padded = [{**bare[0], "content": [{**ABSENT, **entry} for entry in bare[0]["content"]], "name": None}]
    ours, theirs = qwen.apply_chat_template(padded), qwen.apply_chat_template(bare)
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert torch.equal(ours[key], value) if isinstance(value, torch.Tensor) else True, key


def test_the_template_never_gets_a_key_whose_value_is_none() -> None:
    entry = {**ABSENT, "type": "text", "text": "Hello?"}
    message = {"role": "user", "content": [entry], "name": None, "tool_calls": None}
    assert parse([message]).messages == [[{"role": "user", "content": [{"type": "text", "text": "Hello?"}]}]]
    assert parse([{"role": "assistant", "content": None}]).messages == [[{"role": "assistant"}]]


def test_an_entry_without_a_limit_of_its_own_takes_that_of_the_call() -> None:
    entry = {"type": "image", "image": "a.png", "max_pixels": None}
    assert parse(user(entry), {"max_pixels": 784}).images[0].limits.max_pixels == 784


def test_a_source_or_a_mark_may_have_keys_without_a_value() -> None:
    mark = {"point": None, "box": [0, 0, 4, 4], "colour": None, "unit": None}
    entry = {"type": None, "image_url": {"url": "a.png", "detail": None}, "marks": [mark]}
    request = parse(user(entry)).images[0]
    assert request.source == "a.png"
    assert request.marks == parse(user(image("a.png", marks=[{"box": [0, 0, 4, 4]}]))).images[0].marks


# --- refused


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "video", "video": "a.mp4", "nframe": 4}, "did you mean 'nframes'"),
        ({"type": "video", "video": "a.mp4", "clip": "a"}, "Unknown key 'clip'"),
        ({"type": "image", "image": "a.png", "max_pixel": 4}, "did you mean 'max_pixels'"),
        ({"type": "image", "image": "a.png", "fps": 4}, "Unknown key 'fps'"),
    ],
)
def test_a_key_that_nobody_reads_is_refused(
    qwen: Vega3DProcessor, entry: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UnknownKeywordError, match=expected):
        qwen.apply_chat_template(user(entry, "?"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"type": "image"}, "no source"),
        ({"type": "image", "image": "a.png", "url": "b.png"}, "several sources"),
        ({"type": "audio", "audio": "a.wav"}, "Unknown entry type 'audio'"),
        ({"type": "image", "image": 7}, "of type int"),
    ],
)
def test_an_entry_that_cannot_be_understood_is_refused(
    qwen: Vega3DProcessor, entry: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        qwen.apply_chat_template(user(entry, "?"))


@pytest.mark.parametrize("conversation", ["Hello?", [], {"role": "user"}, [["Hello?"]], None])
def test_what_is_no_conversation_is_refused(qwen: Vega3DProcessor, conversation: Any) -> None:
    with pytest.raises(InputError, match="list of messages"):
        qwen.apply_chat_template(conversation)


@pytest.mark.parametrize("key", ["nframes", "min_frames", "video_start"])
def test_sampling_keys_do_not_apply_to_a_list_of_frames(qwen: Vega3DProcessor, key: str) -> None:
    with pytest.raises(InputError, match=f"Invalid {key}: it does not apply to a clip of 2 frames"):
        qwen.apply_chat_template(user(video([media.photo(), media.photo()], fps=2.0, **{key: 2}), "?"))


def test_a_rate_of_given_frames_does_not_apply_to_a_file(qwen: Vega3DProcessor, clip: str) -> None:
    with pytest.raises(InputError, match="Invalid sample_fps: it does not apply"):
        qwen.apply_chat_template(user(video(clip, sample_fps=2.0), "?"))
    with pytest.raises(InputError, match="Invalid video_metadata: it does not apply"):
        qwen("<|video_pad|>", videos=clip, video_metadata={"fps": 2.0})


@pytest.mark.parametrize("array", [np.zeros((4, 5, 6), np.uint8), np.zeros((2, 5, 6, 7), np.uint8)])
def test_an_array_that_is_no_video_is_refused(qwen: Vega3DProcessor, array: Any) -> None:
    with pytest.raises(InputError, match="Invalid video array"):
        qwen.apply_chat_template(user(video(array, fps=1.0), "?"))


def test_an_empty_list_of_frames_is_refused(qwen: Vega3DProcessor) -> None:
    with pytest.raises(MediaError, match="has no frames"):
        qwen.apply_chat_template(user(video([], fps=1.0), "?"))


@pytest.mark.parametrize("keyword", ["nframe", "max_pixel", "add_generation_promt", "image"])
def test_a_keyword_that_nobody_reads_is_refused(qwen: Vega3DProcessor, keyword: str) -> None:
    with pytest.raises(UnknownKeywordError, match=keyword):
        qwen.apply_chat_template(user("Hello?"), **{keyword: 4})


def test_the_host_is_never_left_to_sample(qwen: Vega3DProcessor, clip: str) -> None:
    with pytest.raises(UnknownKeywordError, match="do_sample_frames"):
        qwen("<|video_pad|>", videos=clip, do_sample_frames=True)


def test_the_host_s_order_of_arguments_is_noticed(qwen: Vega3DProcessor) -> None:
    with pytest.raises(InputError, match=r"must be a string or a list of strings[\s\S]*by name"):
        qwen([media.photo()], ["<|image_pad|>"])


@pytest.mark.parametrize("arguments", [{"fps": [1.0, 2.0]}, {"video_metadata": [{}, {}]}])
def test_rates_and_metadata_are_one_a_video(qwen: Vega3DProcessor, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="one entry for each video"):
        qwen("<|video_pad|>", videos=[[media.photo()] * 2], **arguments)


def test_missing_media_are_named(qwen: Vega3DProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEGA3D_ALLOW_HOSTS", "127.0.0.1")
    with pytest.raises(MediaNotFoundError, match=r"nowhere\.mp4"):
        qwen.apply_chat_template(user(video("nowhere.mp4"), "?"))
    with pytest.raises(MediaNotFoundError, match="is a URL"):
        qwen.apply_chat_template(user(image("http://127.0.0.1:9/a.png"), "?"))


@pytest.mark.parametrize("token", ["<|video_pad|>", "<|image_pad|>"])
def test_a_media_token_that_somebody_writes_is_refused_by_its_name(
    processor: Vega3DProcessor, picture: Path, token: str
) -> None:
    for content in ((image(picture), f"What is {token}?"), (f"What is {token}?",)):
        with pytest.raises(InputError, match=re.escape(token)):
            processor.apply_chat_template(user(*content))


def test_half_a_character_is_refused(qwen: Vega3DProcessor) -> None:
    with pytest.raises(InputError, match="half of a character"):
        qwen.apply_chat_template(user("What is \ud800?"))


@pytest.mark.parametrize("entry", [5, None, ["a"], {"type": "text"}, {"type": "text", "text": 5}], ids=str)
def test_an_entry_that_is_neither_text_nor_a_medium_is_refused(qwen: Vega3DProcessor, entry: Any) -> None:
    with pytest.raises(InputError, match="neither text nor a medium"):
        qwen.apply_chat_template([{"role": "user", "content": [entry]}])
    with pytest.raises(InputError, match="neither text nor a medium"):
        qwen.apply_chat_template([{"role": "user", "content": 5}])


def test_a_title_that_is_not_utf_8_does_not_stop_a_processor(qwen: Vega3DProcessor, tmp_path: Path) -> None:
    latin = media.write_video(tmp_path / "a.mp4", title="Café", metadata_encoding="latin-1")
    assert "pixel_values_videos" in qwen.apply_chat_template(user(video(latin), "?"))
