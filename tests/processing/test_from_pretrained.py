"""The processor of a checkpoint: the host's files beside it, ours around them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoProcessor

from tests.adapter.checkpoints import host_of, write_host
from vega3d import Vega3DAdapter, Vega3DConfig, Vega3DProcessor, WanConfig
from vega3d.errors import CheckpointError
from vega3d.pico import pico_path


@pytest.fixture
def host(tmp_path: Path) -> Path:
    return write_host(tmp_path / "host")


def save(host: Path, folder: Path) -> Vega3DConfig:
    config = Vega3DConfig(backbone=WanConfig(channels=16, mode="window"))
    adapter = Vega3DAdapter(host_of(host), config)
    adapter.save_pretrained(folder)
    return adapter.vega3d_config


def test_a_checkpoint_holds_its_processor_under_the_host_s_class(host: Path, tmp_path: Path) -> None:
    save(host, tmp_path / "saved")
    of_host, of_saved = (AutoProcessor.from_pretrained(folder) for folder in (host, tmp_path / "saved"))
    assert type(of_saved) is type(of_host)
    assert json.loads((tmp_path / "saved" / "processor_config.json").read_text())["processor_class"]
    assert of_saved.tokenizer("a chair") == of_host.tokenizer("a chair")


def test_ours_is_loaded_from_a_checkpoint_with_its_settings(host: Path, tmp_path: Path) -> None:
    config = save(host, tmp_path / "saved")
    host.rename(tmp_path / "gone")
    loaded = Vega3DProcessor.from_pretrained(tmp_path / "saved")
    assert loaded.config == config
    assert loaded.chat_template == Vega3DProcessor.from_pretrained(tmp_path / "gone").chat_template


def test_a_checkpoint_without_a_processor_takes_that_of_its_host(host: Path, tmp_path: Path) -> None:
    config = save(host, tmp_path / "saved")
    (tmp_path / "saved" / "processor_config.json").unlink()
    assert Vega3DProcessor.from_pretrained(tmp_path / "saved").config == config


def test_a_processor_that_somebody_saved_is_kept(host: Path, tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(host)
    processor.image_processor.size = {"shortest_edge": 3136, "longest_edge": 6272}
    processor.save_pretrained(tmp_path / "saved")
    save(host, tmp_path / "saved")
    size = Vega3DProcessor.from_pretrained(tmp_path / "saved").image_processor.size
    assert size["longest_edge"] == 6272


def test_pico_names_the_shipped_processor() -> None:
    loaded, named = (Vega3DProcessor.from_pretrained(name) for name in ("pico", pico_path("host")))
    assert loaded.tokenizer("a chair") == named.tokenizer("a chair")


def test_a_checkpoint_of_a_host_in_memory_says_that_it_has_no_processor(host: Path, tmp_path: Path) -> None:
    adapter = Vega3DAdapter(host_of(host), Vega3DConfig(backbone=WanConfig(channels=16)))
    adapter.host.name_or_path = ""
    adapter = Vega3DAdapter(adapter.host, adapter.vega3d_config)
    adapter.save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="Missing processor"):
        Vega3DProcessor.from_pretrained(tmp_path / "saved")
