"""Limits of single media: the host's grid is the one that qwen-vl-utils arrives at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vega3d._utils.torchvision  # noqa: F401  # must run before qwen-vl-utils is imported

# isort: split
from qwen_vl_utils import process_vision_info, smart_resize

from tests import media, processors
from tests.processing.helpers import assert_same, image, prompt, user, video
from vega3d.errors import InputError, MediaError
from vega3d.processing import Vega3DProcessor

TOKEN = 28 * 28
FAMILIES = {name: processors.host_processor(name) for name in ("qwen2_5_vl", "qwen3_vl")}


def grids_by_qwen_vl_utils(messages: list[dict[str, Any]], patch: int) -> dict[str, list[list[int]]]:
    """The grids of already resized media, in patches."""
    images, videos = process_vision_info(messages, image_patch_size=patch)[:2]
    return {
        "image_grid_thw": [[1, item.height // patch, item.width // patch] for item in images or []],
        "video_grid_thw": [
            [len(item) // 2, item.shape[2] // patch, item.shape[3] // patch] for item in videos or []
        ],
    }


@pytest.mark.parametrize("family", list(FAMILIES))
@settings(deadline=None, max_examples=25)
@given(
    width=st.integers(30, 300),
    height=st.integers(30, 300),
    low=st.integers(4, 20),
    room=st.integers(10, 60),
)
def test_an_image_with_both_limits_gets_qwen_vl_utils_grid(
    family: str, width: int, height: int, low: int, room: int
) -> None:
    patch = processors.HOSTS[family][2]
    area = (2 * patch) ** 2
    limits = {"min_pixels": low * area, "max_pixels": (low + room) * area}
    messages = user(image(media.photo(width, height), **limits), "?")
    batch = Vega3DProcessor(FAMILIES[family]).apply_chat_template(messages)
    assert batch["image_grid_thw"].tolist() == grids_by_qwen_vl_utils(messages, patch)["image_grid_thw"]


@settings(deadline=None, max_examples=15)
@given(
    width=st.integers(32, 200),  # Qwen3-VL enlarges a shorter side than a token first
    height=st.integers(32, 200),
    low=st.integers(4, 12),
    room=st.integers(10, 30),
    count=st.sampled_from([2, 4, 6]),
)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_video_with_both_limits_gets_qwen_vl_utils_grid(
    family: str, width: int, height: int, low: int, room: int, count: int
) -> None:
    patch = processors.HOSTS[family][2]
    area = (2 * patch) ** 2
    frames = [media.photo(width, height, seed) for seed in range(count)]
    messages = user(video(frames, sample_fps=2.0, min_pixels=low * area, max_pixels=(low + room) * area), "?")
    batch = Vega3DProcessor(FAMILIES[family]).apply_chat_template(messages)
    # fetch_video resizes a list of frames twice, first to a wrong patch: its rule for files is the oracle
    height, width = smart_resize(height, width, 2 * patch, low * area, (low + room) * area)
    assert batch["video_grid_thw"].tolist() == [[count // 2, height // patch, width // patch]]


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("side", [(100, 140), (28, 28), (333, 90)])
def test_a_size_asked_for_is_rounded_as_qwen_vl_utils_does(family: str, side: tuple[int, int]) -> None:
    patch = processors.HOSTS[family][2]
    messages = user(image(media.photo(), resized_height=side[0], resized_width=side[1]), "?")
    batch = Vega3DProcessor(FAMILIES[family]).apply_chat_template(messages)
    assert batch["image_grid_thw"].tolist() == grids_by_qwen_vl_utils(messages, patch)["image_grid_thw"]
    assert batch["generative_clips"][0].frames.shape == (1, 3, 60, 80)


def test_a_size_asked_for_gives_the_pixels_of_pillow_s_own_resize() -> None:
    photo = media.photo()
    ours = Vega3DProcessor(FAMILIES["qwen2_5_vl"]).apply_chat_template(
        user(image(photo, resized_height=112, resized_width=84), "?")
    )
    theirs = FAMILIES["qwen2_5_vl"].image_processor([photo.resize((84, 112))], do_resize=False)
    difference = (ours["pixel_values"] - torch.as_tensor(theirs["pixel_values"])).abs()
    assert float(difference.max()) <= 2.01 / 255 / 0.26  # two steps of 255, normalised


def test_a_video_takes_a_size_too(clip: str) -> None:
    processor = Vega3DProcessor(FAMILIES["qwen2_5_vl"])
    messages = user(video(clip, nframes=4, resized_height=84, resized_width=112), "?")
    assert processor.apply_chat_template(messages)["video_grid_thw"].tolist() == [[2, 6, 8]]


def test_media_of_one_batch_have_limits_of_their_own() -> None:
    processor = Vega3DProcessor(FAMILIES["qwen2_5_vl"])
    photo = media.photo(280, 280)
    rows = [
        user(image(photo, max_pixels=4 * TOKEN), "?"),
        user(image(photo), image(photo, max_pixels=9 * TOKEN)),
    ]
    batch = processor.apply_chat_template(rows)
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4], [1, 8, 8], [1, 6, 6]]
    assert len(batch["pixel_values"]) == 16 + 64 + 36
    assert all(clip.frames.shape == (1, 3, 280, 280) for clip in batch["generative_clips"])


def test_a_medium_without_limits_is_untouched_by_its_neighbour() -> None:
    host = FAMILIES["qwen2_5_vl"]
    photo, other = media.photo(seed=1), media.photo(200, 200, 2)
    batch = Vega3DProcessor(host).apply_chat_template(
        user(image(photo), image(other, max_pixels=4 * TOKEN), "?")
    )
    alone = host.image_processor([photo], return_tensors="pt")
    assert torch.equal(batch["pixel_values"][: len(alone["pixel_values"])], alone["pixel_values"])


def test_limits_equal_to_the_host_s_own_change_nothing(host: Any, clip: str) -> None:
    own = dict(host.image_processor.size)
    limits = {"min_pixels": own["shortest_edge"], "max_pixels": own["longest_edge"]}
    messages = user(image(media.photo(), **limits), image(media.photo(seed=1), **limits), "?")
    plain = user(image(media.photo()), image(media.photo(seed=1)), "?")
    processor = Vega3DProcessor(host)
    assert_same(processor.apply_chat_template(messages), _without_ours(processor.apply_chat_template(plain)))


def _without_ours(batch: Any) -> dict[str, Any]:
    return {key: value for key, value in batch.items() if key != "generative_clips"}


def test_a_call_may_set_limits_for_all_media_and_a_message_overrides_them() -> None:
    processor = Vega3DProcessor(FAMILIES["qwen2_5_vl"])
    photo = media.photo(280, 280)
    rows = user(image(photo), image(photo, max_pixels=9 * TOKEN), "?")
    batch = processor.apply_chat_template(rows, max_pixels=4 * TOKEN)
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4], [1, 6, 6]]
    text = prompt(processor.processor, user(image(photo), "?"))
    assert processor(text, photo, max_pixels=4 * TOKEN)["image_grid_thw"].tolist() == [[1, 4, 4]]


def test_a_budget_for_a_whole_video_is_shared_by_its_frames() -> None:
    frames = [np.zeros((280, 280, 3), np.uint8)] * 8
    for family, host in FAMILIES.items():
        area = (2 * processors.HOSTS[family][2]) ** 2
        messages = user(video(frames, fps=2.0, min_pixels=4 * area, total_pixels=4 * 9 * area), "?")
        time, rows, columns = (
            Vega3DProcessor(host).apply_chat_template(messages)["video_grid_thw"][0].tolist()
        )
        assert (time, rows, columns) == (4, 6, 6)  # 9 tokens a time step, where 12 were the host's own limit


@pytest.mark.parametrize(
    "limits",
    [
        {"min_pixels": 5000, "max_pixels": 4000},
        {"max_pixels": 0},
        {"max_pixels": "many"},
        {"resized_height": 100},
        {"resized_height": 100, "resized_width": -3},
        {"resized_height": 10**9, "resized_width": 28},
        {"min_pixels": 10**12},
        {"min_pixels": float("nan")},
        {"max_pixels": float("inf")},
        {"max_pixels": 10**5000},
        {"max_pixels": 0.5},
    ],
    ids=lambda limits: ", ".join(limits),
)
def test_limits_that_make_no_sense_are_refused(limits: dict[str, Any]) -> None:
    with pytest.raises((InputError, MediaError)):
        Vega3DProcessor(FAMILIES["qwen2_5_vl"]).apply_chat_template(user(image(media.photo(), **limits), "?"))


@pytest.mark.parametrize(
    "keys",
    [
        {"fps": "x"},
        {"fps": 0},
        {"fps": float("nan")},
        {"num_frames": []},
        {"nframes": float("nan")},
        {"nframes": 10**5000},
        {"nframes": True},
        {"min_frames": 10**400},
        {"max_frames": -(10**30)},
        {"video_start": "0"},
        {"video_end": float("nan")},
        {"min_pixels": 10**12},
        {"resized_height": 10**9, "resized_width": 1},
        {"resized_height": 10**6, "resized_width": 10**6},
    ],
    ids=lambda keys: ", ".join(keys),
)
def test_sampling_that_makes_no_sense_is_refused(keys: dict[str, Any], clip: str) -> None:
    with pytest.raises((InputError, MediaError)):
        Vega3DProcessor(FAMILIES["qwen2_5_vl"]).apply_chat_template(user(video(clip, **keys), "?"))


def test_a_video_may_be_asked_for_to_its_end(clip: str) -> None:
    keys = {"video_start": 0.5, "video_end": float("inf")}
    Vega3DProcessor(FAMILIES["qwen2_5_vl"]).apply_chat_template(user(video(clip, **keys), "?"))
