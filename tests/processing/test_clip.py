"""A clip passes every tool between the processor and the adapter whole, or an error names the way out."""

from __future__ import annotations

import dataclasses
import pickle

import datasets
import pytest
import torch
from accelerate.utils import find_batch_size, send_to_device
from torch import nn
from torch.distributed.utils import _cast_forward_inputs, _to_kwargs
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory
from transformers import BatchFeature

from tests import media
from tests.processing.helpers import image, user, video
from vega3d import Vega3DAdapter
from vega3d.errors import InputError
from vega3d.grid import FeatureMap
from vega3d.inputs.clip import Clip, clips_from_tensors, flat_clips
from vega3d.media.frame_plan import FramePlan
from vega3d.processing import Vega3DProcessor
from vega3d.store.feature_store import CacheHit


@pytest.fixture
def batch(qwen: Vega3DProcessor, clip: str) -> BatchFeature:
    photos = [media.photo(seed=seed) for seed in range(3)]
    pictures = [image(photo, clip=name) for photo, name in zip(photos, ("a", None, "a"), strict=True)]
    return qwen.apply_chat_template(user(*pictures, video(clip, nframes=4), "?"))


def a_clip(features: torch.Tensor | None = None) -> Clip:
    """A clip of two frames; with features it is a cache hit."""
    frames, plan = torch.zeros(2, 3, 4, 6, dtype=torch.uint8), FramePlan.per_frame(range(2))
    hit = CacheHit(FeatureMap(features, ((0,), (1,))), "any", "memory") if features is not None else None
    return Clip(frames, plan, (0,), (4, 6), cached=hit)


def alike(one: Clip, other: Clip) -> bool:
    return torch.equal(one.frames, other.frames) and (one.plan, one.items) == (other.plan, other.items)


def test_images_of_one_clip_and_a_video_are_clips_of_one_kind_of_object(batch: BatchFeature) -> None:
    described = [(clip.modality, clip.items, len(clip.frames)) for clip in batch["generative_clips"]]
    assert described == [("image", (0, 2), 2), ("image", (1,), 1), ("video", (0,), 4)]


def test_the_clips_are_the_last_key_of_a_batch(batch: BatchFeature) -> None:
    assert list(batch)[-1] == "generative_clips"
    assert find_batch_size(dict(batch)) == 1  # accelerate reads the first key


def test_a_clip_prints_no_pixels() -> None:
    assert len(repr(a_clip())) < 120


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_pass_the_workers_of_a_data_loader(qwen: Vega3DProcessor, clip: str, workers: int) -> None:
    rows = [user(video(clip, nframes=count), "?") for count in (2, 4)]
    loader = DataLoader(rows, batch_size=2, collate_fn=qwen.apply_chat_template, num_workers=workers)
    (loaded,) = loader
    expected = qwen.apply_chat_template(rows)
    pairs = zip(loaded["generative_clips"], expected["generative_clips"], strict=True)
    assert all(alike(one, other) for one, other in pairs)


def test_a_clip_survives_pickling() -> None:
    assert alike(pickle.loads(pickle.dumps(a_clip())), a_clip())  # noqa: S301


def test_accelerate_moves_frames_and_stored_features_to_a_device() -> None:
    moved = send_to_device({"generative_clips": [a_clip(torch.ones(5, 2, 1, 1))]}, torch.device("meta"))
    (clip,) = moved["generative_clips"]
    assert clip.frames.device.type == clip.cached.feature_map.features.device.type == "meta"
    assert clip.frames.dtype == torch.uint8


def test_a_data_loader_pins_frames_and_stored_features(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, ...]] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: (pinned.append(self.shape), self)[1])
    (clip,) = pin_memory({"generative_clips": [a_clip(torch.ones(5, 2, 1, 1))]})["generative_clips"]
    assert isinstance(clip, Clip)
    assert pinned == [(2, 3, 4, 6), (5, 2, 1, 1)]


def test_ddp_hands_clips_on() -> None:
    clips = [a_clip()]
    (_,), (keywords,) = _to_kwargs((), {"generative_clips": clips}, torch.device("cpu"), False)
    assert alike(keywords["generative_clips"][0], clips[0])


def test_mixed_precision_leaves_stored_features_as_they_are() -> None:
    given = {"generative_clips": [a_clip(torch.ones(5, 2, 1, 1))]}
    _, keywords = _cast_forward_inputs(torch.bfloat16, **given)
    (clip,) = keywords["generative_clips"]
    assert clip.cached.feature_map.features.dtype == torch.float32
    assert clip.frames.dtype == torch.uint8


def test_lists_of_several_samples_are_joined_and_their_items_counted_on() -> None:
    images = clips_from_tensors(FramePlan.per_frame, [torch.zeros(3, 4, 4)] * 3, groups=[[2, 0]])
    joined = flat_clips([[*images, a_clip()], [*images, a_clip()]])
    assert [clip.items for clip in joined] == [(2, 0), (1,), (0,), (5, 3), (4,), (1,)]
    with pytest.raises(InputError, match="Invalid generative_clips"):
        flat_clips([torch.zeros(1)])


def test_a_table_of_datasets_cannot_hold_clips_and_says_what_can() -> None:
    table = datasets.Dataset.from_dict({"x": [1]})
    with pytest.raises(InputError, match="with_transform"):
        table.map(lambda row: {"generative_clips": [a_clip()]})
    rows = table.with_transform(lambda part: {"clips": [a_clip() for _ in part["x"]]})
    assert rows[0]["clips"].size == (4, 6)


def test_data_parallel_is_refused_with_the_way_to_several_processes() -> None:
    adapter = Vega3DAdapter.__new__(Vega3DAdapter)
    nn.Module.__init__(adapter)
    with pytest.raises(InputError, match="torchrun"):
        adapter._replicate_for_data_parallel()


def test_a_clip_of_a_plan_without_its_frames_is_refused() -> None:
    with pytest.raises(InputError, match="does not have the frames of its plan"):
        dataclasses.replace(a_clip(), plan=FramePlan.per_frame(range(3)))
