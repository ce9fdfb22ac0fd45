"""The generator's side: the decoded pixels of the same pictures and frames, their plans and groups."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import media, processors
from tests.processing.helpers import groups_of, image, user, video
from vega3d import processing
from vega3d.config import Vega3DConfig
from vega3d.errors import HostError, InputError, MediaError
from vega3d.inputs import source as clip_source
from vega3d.media.decoding import read_frames
from vega3d.media.frame_plan import FramePlan
from vega3d.media.image import load_image
from vega3d.processing import Vega3DProcessor


def test_images_come_at_their_decoded_size_in_the_order_of_their_grids(qwen: Vega3DProcessor) -> None:
    photos = [media.photo(200, 150, 0), media.photo(50, 90, 1)]
    batch = qwen.apply_chat_template([user(image(photos[0]), "a"), user(image(photos[1]), "b")])
    assert [clip.size for clip in batch["generative_clips"]] == [(150, 200), (90, 50)]
    for clip, photo in zip(batch["generative_clips"], photos, strict=True):
        assert clip.frames.dtype == torch.uint8
        assert torch.equal(clip.frames, load_image(photo)[None])
    assert len(batch["image_grid_thw"]) == 2


def test_videos_come_with_the_frames_of_their_plan(qwen: Vega3DProcessor, clip: str) -> None:
    batch = qwen.apply_chat_template(user(video(clip, nframes=4), "?"))
    plan = batch["generative_clips"][0].plan
    assert plan == FramePlan.per_frame((0, 4, 7, 11))
    assert torch.equal(batch["generative_clips"][0].frames, read_frames(clip, plan.generative))


def test_each_video_is_decoded_once(
    qwen: Vega3DProcessor, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, ...]] = []

    def counted(source: str, indices: tuple[int, ...]) -> torch.Tensor:
        calls.append(tuple(indices))
        return read_frames(source, indices)

    monkeypatch.setattr(clip_source, "read_frames", counted)
    qwen.apply_chat_template(user(video(clip, nframes=4), "?"))
    assert calls == [(0, 4, 7, 11)]


def test_a_plan_may_differ_between_host_and_generator(
    qwen: Vega3DProcessor, clip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = FramePlan(host=(0, 8), generative=(0, 7, 8), host_to_generator=((0,), (1, 2)))
    monkeypatch.setattr("vega3d.processing.frame_plan", lambda settings, host: plan)
    batch = qwen.apply_chat_template(user(video(clip, nframes=2), "?"))
    assert [media.number_of(frame) for frame in batch["generative_clips"][0].frames] == [0, 7, 8]
    assert batch["video_grid_thw"][0, 0] == 1


def test_images_stand_alone_unless_declared_one_clip(qwen: Vega3DProcessor) -> None:
    a, b, c, d = (media.photo(seed=seed) for seed in range(4))
    messages = user(image(a, clip="x"), image(b), image(c, clip="x"), image(d, clip="y"), "?")
    assert groups_of(qwen.apply_chat_template(messages)) == [[0, 2], [1], [3]]


def test_the_same_clip_name_in_two_conversations_is_two_clips(qwen: Vega3DProcessor) -> None:
    row = user(image(media.photo(), clip="a"), image(media.photo(seed=1), clip="a"), "?")
    assert groups_of(qwen.apply_chat_template([row, row])) == [[0, 1], [2, 3]]


def test_a_direct_call_takes_groups_or_names(qwen: Vega3DProcessor) -> None:
    photos = [media.photo(seed=seed) for seed in range(3)]
    text = "<|image_pad|>" * 3
    assert groups_of(qwen(text, photos, image_groups=[[1, 2]])) == [[0], [1, 2]]
    assert groups_of(qwen(text, photos, clips=["a", None, "a"])) == [[0, 2], [1]]
    assert groups_of(qwen(text, [photos])) == [[0], [1], [2]]


@pytest.mark.parametrize(
    "arguments",
    [
        {"image_groups": [[0, 3]]},
        {"image_groups": [[0], [0, 1]]},
        {"image_groups": [[]]},
        {"clips": ["a"]},
        {"clips": ["a", "a", "a"], "image_groups": [[0, 1]]},
    ],
)
def test_groups_that_do_not_fit_the_images_are_refused(
    qwen: Vega3DProcessor, arguments: dict[str, object]
) -> None:
    with pytest.raises(InputError, match=r"Invalid (image_groups|clips)"):
        qwen("<|image_pad|>" * 3, [media.photo(seed=seed) for seed in range(3)], **arguments)


def test_images_of_one_clip_must_have_one_size(qwen: Vega3DProcessor) -> None:
    messages = user(image(media.photo(80, 60), clip="a"), image(media.photo(60, 80), clip="a"), "?")
    with pytest.raises(MediaError, match=r"declared one clip[\s\S]*80x60, 60x80"):
        qwen.apply_chat_template(messages)


def test_separate_images_may_differ_in_size(qwen: Vega3DProcessor) -> None:
    messages = user(image(media.photo(80, 60)), image(media.photo(60, 80)), "?")
    assert groups_of(qwen.apply_chat_template(messages)) == [[0], [1]]


def test_frames_of_one_video_must_have_one_size(qwen: Vega3DProcessor) -> None:
    with pytest.raises(MediaError, match=r"differ in size[\s\S]*80x60, 60x80"):
        qwen.apply_chat_template(user(video([media.photo(80, 60), media.photo(60, 80)], fps=2), "?"))


@pytest.mark.parametrize("size", [(1, 1), (1, 150), (7, 5), (29, 57), (8000, 6000)])
def test_tiny_odd_and_huge_images_work(qwen: Vega3DProcessor, size: tuple[int, int]) -> None:
    batch = qwen.apply_chat_template(user(image(np.zeros((size[1], size[0], 3), np.uint8)), "?"))
    assert batch["generative_clips"][0].frames.shape == (1, 3, size[1], size[0])
    assert int((batch["input_ids"] == 290).sum()) == int(batch["image_grid_thw"].prod()) // 4


@pytest.mark.parametrize("size", [(1, 201), (402, 2)])
def test_a_strip_is_refused_with_the_host_s_limit(qwen: Vega3DProcessor, size: tuple[int, int]) -> None:
    strip = np.zeros((size[1], size[0], 3), np.uint8)
    with pytest.raises(MediaError, match=r"Image 0 is too long and thin[\s\S]*200 : 1"):
        qwen.apply_chat_template(user(image(strip), "?"))
    with pytest.raises(MediaError, match=r"Video 0 is too long and thin[\s\S]*200 : 1"):
        qwen.apply_chat_template(user(video([strip, strip], fps=1.0), "?"))


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_every_mode_work(qwen: Vega3DProcessor, mode: str) -> None:
    batch = qwen.apply_chat_template(user(image(media.photo(mode=mode)), "?"))
    assert batch["generative_clips"][0].frames.shape == (1, 3, 60, 80)


def test_the_processor_survives_pickling(qwen: Vega3DProcessor, clip: str) -> None:
    copy = pickle.loads(pickle.dumps(qwen))  # noqa: S301  # what a data worker does
    messages = user(video(clip, nframes=4), image(media.photo()), "?")
    a, b = qwen.apply_chat_template(messages), copy.apply_chat_template(messages)
    assert torch.equal(a["pixel_values_videos"], b["pixel_values_videos"])
    assert [clip.plan for clip in a["generative_clips"]] == [clip.plan for clip in b["generative_clips"]]
    assert groups_of(pickle.loads(pickle.dumps(b))) == [[0]]  # noqa: S301


def test_a_batch_moves_to_a_device_and_a_dtype_with_its_pixels_untouched(
    qwen: Vega3DProcessor, clip: str
) -> None:
    batch = qwen.apply_chat_template(user(video(clip, nframes=4), "?")).to("cpu", torch.bfloat16)
    assert batch["pixel_values_videos"].dtype == torch.bfloat16
    assert batch["generative_clips"][0].frames.dtype == torch.uint8
    assert isinstance(batch["generative_clips"][0].plan, FramePlan)


def test_the_host_s_processor_is_not_changed_by_a_call(qwen: Vega3DProcessor, clip: str) -> None:
    before = (qwen.processor.image_processor, qwen.processor.video_processor, qwen.processor.to_json_string())
    qwen.apply_chat_template(
        user(
            video(clip, nframes=4, max_pixels=28 * 28 * 4), image(media.photo(), min_pixels=28 * 28 * 20), "?"
        )
    )
    assert qwen.processor.image_processor is before[0]
    assert qwen.processor.video_processor is before[1]
    assert qwen.processor.to_json_string() == before[2]


def test_messages_are_not_changed_by_a_call(qwen: Vega3DProcessor) -> None:
    photo = media.photo()
    messages = user(image(photo, clip="a"), "?")
    qwen.apply_chat_template(messages)
    assert messages == user(image(photo, clip="a"), "?")
    assert messages[0]["content"][0]["image"] is photo


def test_what_users_expect_of_a_processor_is_there(qwen: Vega3DProcessor) -> None:
    assert qwen.batch_decode([[4 + 29]]) == [qwen.decode([4 + 29])]
    assert qwen.tokenizer is qwen.processor.tokenizer
    assert qwen.image_processor is qwen.processor.image_processor
    assert qwen.video_processor is qwen.processor.video_processor
    assert qwen.chat_template == processors.TEMPLATE
    assert {"input_ids", "pixel_values_videos", "generative_clips"} <= set(qwen.model_input_names)


def test_saving_and_loading_keeps_every_output(qwen: Vega3DProcessor, tmp_path: Path, clip: str) -> None:
    qwen.save_pretrained(tmp_path)
    again = Vega3DProcessor.from_pretrained(tmp_path, Vega3DConfig())
    assert type(again.processor) is type(qwen.processor)
    messages = user(video(clip, nframes=4), image(media.photo()), "?")
    a, b = qwen.apply_chat_template(messages), again.apply_chat_template(messages)
    assert all(torch.equal(a[key], b[key]) for key in a if isinstance(a[key], torch.Tensor))


def test_a_tokenizer_is_no_processor() -> None:
    with pytest.raises(HostError, match="processor of a vision-language host"):
        Vega3DProcessor(processors.tokenizer())


def test_processing_imports_no_adapter() -> None:
    source = Path(processing.__file__).read_text()
    assert "adapter" not in source.split('"""', 2)[2].split("class Vega3DProcessor")[0]
