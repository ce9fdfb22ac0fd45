"""A single wrong bit in any file of a checkpoint is an error that names the file, never another model."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.adapter.checkpoints import load, logits, write_checkpoint, write_host
from tests.adapter.conftest import wrap
from tests.tiny import make_host
from vega3d import Vega3DConfig, WanBackbone, checkpoint
from vega3d._utils import files
from vega3d.checkpoint.record import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from vega3d.errors import CheckpointError
from vega3d.training.trained import load_trained

READ_BY_PEOPLE = CARD_FILE  # nothing of it is loaded


@pytest.fixture(scope="module")
def sources(backbone: WanBackbone, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint with LoRA, and one with a merged host; never written to."""
    folder = tmp_path_factory.mktemp("sources")
    host = write_host(folder / "host")
    return {kind: write_checkpoint(kind, host, backbone, folder / kind) for kind in ("lora", "merged")}


@pytest.fixture
def folder(sources: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the checkpoint with LoRA."""
    return shutil.copytree(sources["lora"], tmp_path / "lora")


Content = tuple[Vega3DConfig, dict[str, Tensor]]


def read(folder: Path) -> Content:
    """Everything that a model is made of, with all checks of ``from_pretrained``."""
    saved = checkpoint.load(folder)
    saved.require_own_host()
    tensors = {**saved.tensors, **load_trained(folder).host}
    if saved.lora() is not None:
        tensors |= load_trained(folder).lora
    return saved.config, tensors


def same(one: Content, other: Content) -> bool:
    """True if two contents make the same model."""
    return (
        one[0] == other[0]
        and one[1].keys() == other[1].keys()
        and all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())
    )


def silent(folder: Path, file: Path, bits: list[int], expected: Content) -> list[int]:
    """Flip bits of a file one at a time; those that change the model without an error or a warning."""
    whole, missed = file.read_bytes(), []
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                if not same(read(folder), expected):
                    missed.append(bit)
        except (CheckpointError, UserWarning):
            pass
    file.write_bytes(whole)
    return missed


def files_of(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != READ_BY_PEOPLE)


def flip(sources: dict[str, Path], tmp_path: Path, kind: str, most: int) -> None:
    """Flip at most ``most`` bits of each file of a checkpoint."""
    folder = tmp_path / kind
    shutil.copytree(sources[kind], folder)
    expected = read(folder)
    draw = random.Random(0)
    for file in files_of(folder):
        bits = range(8 * file.stat().st_size)
        chosen = list(bits) if len(bits) <= most else draw.sample(bits, most)
        assert not silent(folder, file, chosen, expected), file.name


@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_no_flipped_bit_is_silent(kind: str, sources: dict[str, Path], tmp_path: Path) -> None:
    flip(sources, tmp_path, kind, 12)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["lora", "merged"])
def test_no_flipped_bit_is_silent_in_the_long_form(
    kind: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    flip(sources, tmp_path, kind, 400)


@pytest.mark.parametrize(
    ("right", "wrong"), [("gated_residual", "gated_sesidual"), ("qwen2_5_vl", "qwen2W5_vl")]
)
def test_a_flipped_bit_in_a_name_is_detected(right: str, wrong: str, folder: Path) -> None:
    settings = folder / CONFIG_FILE
    settings.write_text(settings.read_text().replace(right, wrong))
    with pytest.raises(CheckpointError, match=CONFIG_FILE):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    "name", ["vega3d_model.safetensors", "lora/adapter_model.safetensors", "lora/adapter_config.json"]
)
def test_a_changed_file_is_named_when_a_model_is_loaded(
    name: str, folder: Path, backbone: WanBackbone
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-10] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"{name}.*checksum|Cannot read .*{name}"):
        load(folder, backbone)


def edited(folder: Path, **changes: Any) -> None:
    """``vega3d_config.json`` with other values; None removes a key."""
    file = folder / CONFIG_FILE
    record = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in record.items() if value is not None}))


def test_settings_edited_by_hand_load_once_their_checksum_is_removed(
    folder: Path, backbone: WanBackbone, tmp_path: Path
) -> None:
    record = json.loads((folder / CONFIG_FILE).read_text())
    expected = logits(load(folder, backbone))
    moved = Path(record["host"]["path"]).parent / "host elsewhere"
    shutil.copytree(record["host"]["path"], moved, dirs_exist_ok=True)
    edited(folder, host={**record["host"], "path": str(moved)})
    with pytest.raises(CheckpointError, match=r'remove the key "checksum"'):
        load(folder, backbone)
    edited(folder, checksum=None)
    with pytest.warns(UserWarning, match="no checksum"):
        model = load(folder, backbone)
    assert model.vega3d_config.host.path == str(moved)
    assert torch.equal(logits(model), expected)
    model.save_pretrained(tmp_path / "again")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        checkpoint.load(tmp_path / "again")


def test_weights_are_still_checked_when_only_the_settings_checksum_is_removed(folder: Path) -> None:
    edited(folder, checksum=None)
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with (
        pytest.warns(UserWarning, match="no checksum"),
        pytest.raises(CheckpointError, match=WEIGHTS_FILE),
    ):
        checkpoint.load(folder)


def test_a_file_that_was_changed_on_purpose_loads_once_its_sum_is_removed(folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match=r'from "files".*remove the key "checksum"'):
        checkpoint.load(folder)
    listed = json.loads((folder / CONFIG_FILE).read_text())["files"]
    del listed[WEIGHTS_FILE]
    edited(folder, files=listed, checksum=None)
    with pytest.warns(UserWarning, match="no checksum"):
        checkpoint.load(folder)


def test_other_spaces_and_line_ends_change_nothing(folder: Path) -> None:
    file = folder / CONFIG_FILE
    file.write_bytes(json.dumps(json.loads(file.read_text()), indent=7).replace("\n", "\r\n").encode())
    checkpoint.load(folder)


def test_a_save_that_ended_between_two_files_is_detected(
    folder: Path, backbone: WanBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder, backbone)
    torch.nn.init.normal_(model.projector.down.weight)
    write = files.write_whole

    def killed(file: Path, *arguments: Any, **options: Any) -> Path:
        if file.name == CONFIG_FILE:
            raise KeyboardInterrupt
        return write(file, *arguments, **options)

    monkeypatch.setattr(files, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        model.save_pretrained(folder)
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        checkpoint.load(folder)


# ---------------------------------------------------------------- version 0.1 (format 1.1)

SETTINGS_OF_0_1 = """{
  "backbone": {
    "attention": null, "between": 0, "block": 1, "channels": 128, "draws": 1, "dtype": "float32",
    "length": 21, "match": 1, "max_tokens": 1600, "micro_batch": null, "mode": "frame", "noise": "content",
    "path": "pico", "picture": "whole", "pixels": 4096, "pool": null, "residual": "float32",
    "revision": null, "schedule": "exact", "seed": 0,
    "shortcuts": ["stop", "plane", "constants", "pad_key", "one_token", "encodes"],
    "sigma": 0.3, "size": [832, 480], "type": "wan", "window": 5
  },
  "format": "1.1",
  "fusion": {"hidden": null, "type": "gated_residual"},
  "host": {"hidden_size": 64, "model_type": "qwen2_5_vl", "path": null, "revision": null},
  "marks": "host", "semantic_streams": [], "vega3d_version": "0.1.0"
}"""


def test_a_checkpoint_of_version_0_1_loads_with_its_lora_and_one_warning(
    folder: Path, backbone: WanBackbone
) -> None:
    expected = logits(load(folder, backbone))
    host = load(folder, backbone=None).vega3d_config.host.path
    (folder / CONFIG_FILE).write_text(SETTINGS_OF_0_1.replace('"path": null', f'"path": "{host}"', 1))
    with pytest.warns(UserWarning, match="cannot be compared") as caught:
        model = load(folder, backbone)
    assert len([one for one in caught if issubclass(one.category, UserWarning)]) == 1
    assert torch.equal(logits(model), expected)


def test_a_model_that_was_never_saved_has_no_sums(backbone: WanBackbone) -> None:
    record = wrap(make_host("qwen2_5_vl"), backbone).vega3d_config.to_dict()
    assert not {"files", "checksum"} & set(record)
