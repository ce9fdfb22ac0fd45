"""A processor without torchvision: images by Pillow, videos by torch."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media, processors
from tests.processing.helpers import groups_of, image, user, video
from vega3d.errors import DependencyError, HostError
from vega3d.processing import Vega3DProcessor


@pytest.fixture
def saved(host: Any, tmp_path: Path) -> Path:
    """The host's processor files as transformers writes them now."""
    host.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The files as the hub has them: preprocessor_config.json alone, for images and videos."""
    processors.host_processor().save_pretrained(tmp_path)
    record = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").unlink()
    settings = {**record["image_processor"], "processor_class": record["processor_class"]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path


def test_it_is_of_the_host_s_own_class_with_the_host_s_template(host: Any, saved: Path) -> None:
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True)
    assert type(loaded.processor) is type(host)
    assert loaded.chat_template == host.chat_template


def test_images_that_need_no_resize_get_the_same_pixels(host: Any, saved: Path) -> None:
    side = 2 * host.image_processor.patch_size * 3
    messages = user(image(media.photo(side, side)), "?")
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True).apply_chat_template(messages)
    whole = Vega3DProcessor(host).apply_chat_template(messages)
    assert set(loaded) == set(whole)
    assert torch.equal(loaded["input_ids"], whole["input_ids"])
    torch.testing.assert_close(loaded["pixel_values"], whole["pixel_values"], atol=1e-6, rtol=0)


def test_limits_of_single_images_work(saved: Path) -> None:
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True)
    area = (2 * loaded.image_processor.patch_size) ** 2
    photo = media.photo(280, 280)
    messages = user(image(photo, max_pixels=4 * area), image(photo, resized_height=96, resized_width=96), "?")
    batch = loaded.apply_chat_template(messages)
    assert batch["image_grid_thw"][0].tolist() == [1, 4, 4]
    assert batch["image_grid_thw"][1].tolist() == [1, 6, 6]


def test_a_processor_whose_pixels_are_not_known_names_the_install_command_and_the_way_around(
    saved: Path, clip: str
) -> None:
    record = json.loads((saved / "processor_config.json").read_text())
    record["video_processor"]["video_processor_type"] = "AnotherVideoProcessor"
    (saved / "processor_config.json").write_text(json.dumps(record))
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True)
    with pytest.raises(
        DependencyError, match=r'pip install --no-deps "torchvision==0\.\d+[\s\S]*"clip": "a"'
    ):
        loaded.apply_chat_template(user(video(clip), "?"))


def test_frames_enter_as_images_declared_one_clip(saved: Path) -> None:
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True)
    frames = [image(media.frame(number), clip="a") for number in range(3)]
    assert groups_of(loaded.apply_chat_template(user(*frames, "?"))) == [[0, 1, 2]]


def test_saving_keeps_the_settings_of_the_missing_video_processor(
    host: Any, saved: Path, tmp_path: Path, clip: str
) -> None:
    Vega3DProcessor.from_pretrained(saved, image_only=True).save_pretrained(tmp_path / "again")
    again = Vega3DProcessor.from_pretrained(tmp_path / "again", image_only=False)
    messages = user(video(clip, nframes=4), "?")
    ours, theirs = again.apply_chat_template(messages), Vega3DProcessor(host).apply_chat_template(messages)
    assert torch.equal(ours["pixel_values_videos"], theirs["pixel_values_videos"])


def test_the_files_of_the_hub_are_read_too(published: Path, tmp_path: Path, clip: str) -> None:
    loaded = Vega3DProcessor.from_pretrained(published, image_only=True)
    assert type(loaded.processor).__name__ == "Qwen2_5_VLProcessor"
    assert loaded.apply_chat_template(user(image(media.photo()), "?"))["pixel_values"].shape[1] == 1176
    loaded.save_pretrained(tmp_path / "again")
    again = Vega3DProcessor.from_pretrained(tmp_path / "again", image_only=False)
    assert "pixel_values_videos" in again.apply_chat_template(user(video(clip, nframes=4), "?"))


def test_it_survives_pickling(saved: Path) -> None:
    loaded = Vega3DProcessor.from_pretrained(saved, image_only=True)
    copy = pickle.loads(pickle.dumps(loaded))  # noqa: S301  # what a data worker does
    assert copy.video_processor.to_dict() == loaded.video_processor.to_dict()


def test_files_of_no_processor_are_refused(published: Path) -> None:
    record = json.loads((published / "preprocessor_config.json").read_text())
    record.pop("processor_class")
    (published / "preprocessor_config.json").write_text(json.dumps(record))
    tokens = json.loads((published / "tokenizer_config.json").read_text())
    tokens.pop("processor_class", None)
    (published / "tokenizer_config.json").write_text(json.dumps(tokens))
    with pytest.raises(HostError, match="Missing processor class"):
        Vega3DProcessor.from_pretrained(published, image_only=True)
