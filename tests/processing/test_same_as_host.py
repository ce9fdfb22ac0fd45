"""The host's side is bit for bit what its own processor makes of the same frames, for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from tests import media
from tests.processing.helpers import assert_same, by_host, described, image, prompt, user, video
from vega3d.media.decoding import read_frames
from vega3d.processing import Vega3DProcessor

pytestmark = pytest.mark.exact


def frames_of_first_video(batch: Any) -> tuple[int, ...]:
    """Source frames that the host sees of the batch's first video."""
    videos = [clip for clip in batch["generative_clips"] if clip.modality == "video"]
    return tuple(videos[0].plan.host)


def test_one_image(host: Any, processor: Vega3DProcessor) -> None:
    photo = media.photo()
    messages = user(image(photo), "What is this?")
    assert_same(
        processor.apply_chat_template(messages), by_host(host, [prompt(host, messages)], images=[photo])
    )


def test_an_image_file_as_through_the_host_s_own_chat_template(
    host: Any, processor: Vega3DProcessor, picture: Path
) -> None:
    messages = user({"type": "image", "path": str(picture)}, "What is this?")
    decoded = user(
        image(PIL.Image.open(picture)), "What is this?"
    )  # its own reader needs more of torchvision
    theirs = host.apply_chat_template(
        decoded, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert_same(processor.apply_chat_template(messages), theirs)


def test_text_alone_gives_the_host_s_outputs_and_nothing_else(host: Any, processor: Vega3DProcessor) -> None:
    messages = user("Hello?")
    ours = processor.apply_chat_template(messages)
    assert_same(ours, by_host(host, [prompt(host, messages)]))
    assert "generative_clips" not in ours


@pytest.mark.parametrize("nframes", [2, 6])
def test_a_video_file(host: Any, processor: Vega3DProcessor, clip: str, nframes: int) -> None:
    messages = user(video(clip, nframes=nframes), "What happens?")
    ours = processor.apply_chat_template(messages)
    indices = frames_of_first_video(ours)
    frames = read_frames(clip, indices)
    metadata = [described(frames, indices)]
    theirs = by_host(host, [prompt(host, messages)], videos=[frames], video_metadata=metadata)
    assert_same(ours, theirs)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_list_of_frames_even_or_odd(host: Any, processor: Vega3DProcessor, count: int) -> None:
    frames = [media.frame(number) for number in range(count)]
    messages = user(video(frames, fps=2.0), "What happens?")
    metadata = [described(frames, range(count), fps=2.0, total=count)]
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    theirs = by_host(host, [prompt(host, messages)], videos=[stacked], video_metadata=metadata)
    ours = processor.apply_chat_template(messages)
    assert_same(ours, theirs)
    assert frames_of_first_video(ours) == tuple(range(count))
    assert ours["video_grid_thw"][0, 0] == (count + 1) // 2


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_ragged_batch_of_everything(
    host: Any, processor: Vega3DProcessor, clip: str, side: str, short: str
) -> None:
    photos = [media.photo(80, 60, 0), media.photo(50, 90, 1), media.photo(64, 64, 2)]
    frames = [media.frame(number, 40, 72) for number in range(4)]
    rows = [
        user(image(photos[0]), video(clip, nframes=4), "Describe both."),
        user("No pictures here, only a rather longer question than the others have."),
        user(video(frames, sample_fps=4.0), image(photos[1]), image(photos[2]), "And these?"),
    ]
    ours = processor.apply_chat_template(rows, padding_side=side)
    indices = frames_of_first_video(ours)
    clips = [read_frames(clip, indices), torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)]
    metadata = [described(clips[0], indices), described(clips[1], range(4), fps=4.0, total=4)]
    text = [prompt(host, row) for row in rows]
    theirs = by_host(host, text, images=photos, videos=clips, video_metadata=metadata, padding_side=side)
    assert_same(ours, theirs)


def test_a_direct_call(host: Any, processor: Vega3DProcessor, clip: str) -> None:
    photo = media.photo()
    messages = user(image(photo), video(clip), "Both?")
    text = prompt(host, messages)
    ours = processor(text, images=photo, videos=clip, fps=4.0)
    indices = frames_of_first_video(ours)
    assert indices == (0, 2, 4, 7, 9, 11)
    frames = read_frames(clip, indices)
    metadata = [described(frames, indices)]
    theirs = by_host(host, [text], images=[photo], videos=[frames], video_metadata=metadata)
    assert_same(ours, theirs)


def test_messages_and_a_direct_call_give_the_same(
    processor: Vega3DProcessor, clip: str, picture: Path
) -> None:
    messages = user(image(str(picture)), video(clip, fps=2.0), "Both?")
    text = processor.apply_chat_template(messages, tokenize=False)
    direct = processor(text, images=[picture], videos=[clip], fps=[2.0])
    through_messages = processor.apply_chat_template(messages)
    assert set(direct) == set(through_messages)
    assert torch.equal(direct["pixel_values_videos"], through_messages["pixel_values_videos"])
    assert torch.equal(direct["input_ids"], through_messages["input_ids"])


def test_times_follow_the_frames_that_were_really_sampled(
    host: Any, processor: Vega3DProcessor, clip: str
) -> None:
    ours = processor.apply_chat_template(user(video(clip, nframes=6), "?"))
    if "second_per_grid_ts" in ours:  # 6 of 12 frames at 8 a second: 4 a second, 2 in a time step
        assert float(ours["second_per_grid_ts"][0]) == pytest.approx(0.5)
    if "Qwen3" in type(host).__name__:  # frames 0 and 2 of 8 a second: 0.125 s
        assert "<0.1 seconds>" in processor.decode(ours["input_ids"][0])


def test_a_video_of_one_frame_works_everywhere(processor: Vega3DProcessor, short: str) -> None:
    ours = processor.apply_chat_template(user(video(short), "?"))
    assert ours["video_grid_thw"][0, 0] == 1
    assert frames_of_first_video(ours) == (0,)
    assert ours["generative_clips"][0].frames.shape == (1, 3, 48, 64)


def test_the_host_s_own_cap_is_respected(host: Any, clip: str) -> None:
    host.video_processor.cap_pixels_per_frame = False
    messages = user(video(clip, nframes=4), "?")
    ours = Vega3DProcessor(host).apply_chat_template(messages)
    indices = frames_of_first_video(ours)
    theirs = host(
        text=[prompt(host, messages)],
        videos=[read_frames(clip, indices)],
        video_metadata=[described(None, indices)],
        do_sample_frames=False,
        return_tensors="pt",
    )
    assert_same(ours, theirs)
