"""A checkpoint is read back to the bit; one that does not fit is refused by name, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file

from tests.adapter.conftest import wrap
from tests.disk import room_for
from tests.tiny import make_batch, make_host
from vega3d import Vega3DAdapter, WanBackbone, registry
from vega3d.checkpoint.record import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from vega3d.errors import CheckpointError, ConfigError
from vega3d.pico import pico_path


@pytest.fixture
def saved(backbone: WanBackbone, tmp_path: Path) -> Path:
    model = wrap(make_host("qwen2_5_vl"), backbone)
    torch.nn.init.normal_(model.projector.down.weight)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit(folder: Path, **changes: Any) -> None:
    """Change settings by hand, as the error about their checksum advises."""
    file = folder / CONFIG_FILE
    record = json.loads(file.read_text()) | changes
    record.pop("checksum")
    file.write_text(json.dumps(record))


def load(folder: Path, backbone: WanBackbone | None = None, host: str = "qwen2_5_vl") -> Vega3DAdapter:
    return Vega3DAdapter.from_pretrained(folder, host=make_host(host), backbone=backbone)


@pytest.mark.exact
@pytest.mark.parametrize("fusion", registry.names("fusions"))
def test_a_saved_model_gives_the_same_logits_to_the_bit(
    fusion: str, backbone: WanBackbone, tmp_path: Path
) -> None:
    host = make_host("qwen2_5_vl")
    model = wrap(host, backbone, fusion)
    torch.nn.init.normal_(model.projector.down.weight)
    model.save_pretrained(tmp_path)
    again = Vega3DAdapter.from_pretrained(tmp_path, host=host, backbone=backbone).eval()
    batch = make_batch(host, [[("image", 1, 4, 6)], [("video", 3, 4, 4)]])
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model(**batch).logits)


def test_the_backbone_that_the_checkpoint_names_is_loaded_with_its_settings(saved: Path) -> None:
    model = Vega3DAdapter.from_pretrained(saved, host=make_host("qwen2_5_vl"))
    assert model.backbone is not None
    assert model.backbone.spec.config == model.vega3d_config.backbone
    assert model.vega3d_config.backbone.path == str(pico_path("wan"))


def test_only_projector_and_fusion_are_written(saved: Path) -> None:
    names = {name.split(".")[0] for name in load_file(saved / WEIGHTS_FILE)}
    assert names == {"projector", "fusion"}


def test_a_checkpoint_holds_no_other_kind_of_file(saved: Path) -> None:
    assert {file.suffix for file in saved.iterdir()} == {".json", ".safetensors", ".md"}


@pytest.mark.exact
def test_saving_twice_gives_the_same_bytes(saved: Path, backbone: WanBackbone) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    load(saved, backbone).save_pretrained(saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_a_card_that_somebody_edited_is_kept(saved: Path, backbone: WanBackbone) -> None:
    (saved / CARD_FILE).write_text("mine")
    load(saved, backbone).save_pretrained(saved)
    assert (saved / CARD_FILE).read_text() == "mine"


def test_only_the_main_process_writes(backbone: WanBackbone, tmp_path: Path) -> None:
    wrap(make_host("qwen2_5_vl"), backbone).save_pretrained(tmp_path / "none", is_main_process=False)
    assert not (tmp_path / "none").exists()


def test_an_unknown_key_in_a_file_of_the_same_version_is_an_error(saved: Path) -> None:
    edit(saved, fusion={"type": "paper", "hiden": 3})
    with pytest.raises(CheckpointError, match=r"fusion\.hiden.*(?s:.)*did you mean 'fusion\.hidden'"):
        load(saved)


def test_an_unknown_key_of_a_newer_minor_version_is_a_warning_that_names_it(saved: Path) -> None:
    edit(saved, format="1.7", telepathy=True)
    with pytest.warns(UserWarning, match=r"1\.7.*telepathy"):
        load(saved)


def test_a_newer_major_version_is_an_error(saved: Path) -> None:
    edit(saved, format="2.0")
    with pytest.raises(CheckpointError, match="pip install -U vega3d"):
        load(saved)


def test_a_file_without_a_version_is_an_error(saved: Path) -> None:
    edit(saved, format=None)
    with pytest.raises(CheckpointError, match="Invalid format of"):
        load(saved)


@pytest.mark.parametrize("host", ["qwen2_vl", "qwen3_vl"])
def test_a_checkpoint_of_another_host_is_refused(host: str, saved: Path) -> None:
    with pytest.raises(CheckpointError, match=f"another host(?s:.)*{host}"):
        load(saved, host=host)


def test_a_backbone_with_other_settings_is_refused_by_name(saved: Path, backbone: WanBackbone) -> None:
    record = json.loads((saved / CONFIG_FILE).read_text())
    edit(saved, backbone=record["backbone"] | {"sigma": 0.5})
    with pytest.raises(ConfigError, match=r"sigma=0\.3(?s:.)*sigma=0\.5"):
        load(saved, backbone)


def test_a_pickle_where_safetensors_is_expected_is_refused(saved: Path) -> None:
    weights = saved / WEIGHTS_FILE
    torch.save(load_file(weights), saved / "vega3d_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"pickle(?s:.)*vega3d_model\.bin"):
        load(saved)


def test_a_pickle_under_the_name_of_safetensors_is_refused(saved: Path) -> None:
    torch.save({"x": torch.zeros(1)}, saved / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="Cannot read"):
        load(saved)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_truncated_file_is_named(name: str, saved: Path) -> None:
    file = saved / name
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CheckpointError, match=name):
        load(saved)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(name: str, saved: Path) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load(saved)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(CheckpointError, match="no/such/folder"):
        Vega3DAdapter.from_pretrained("no/such/folder")


def test_tensors_of_another_fusion_are_named(saved: Path) -> None:
    edit(saved, fusion={"type": "released_vsi", "hidden": None})
    with pytest.raises(CheckpointError, match=r"fusion\.scale"):
        load(saved)


def test_a_full_disk_is_a_clear_error_and_the_old_checkpoint_stays_whole(
    saved: Path, backbone: WanBackbone
) -> None:
    before = {file.name: file.read_bytes() for file in saved.iterdir()}
    model = load(saved, backbone)
    torch.nn.init.normal_(model.projector.down.weight)
    with room_for(4096), pytest.raises(CheckpointError, match="Cannot write"):
        model.save_pretrained(saved)
    assert {file.name: file.read_bytes() for file in saved.iterdir()} == before


def test_push_uploads_exactly_what_save_writes(
    saved: Path, backbone: WanBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, bytes] = {}

    def upload(self: HfApi, *, folder_path: str, **_: Any) -> SimpleNamespace:
        sent.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
        return SimpleNamespace(commit_url="https://hub/commit/1")

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert load(saved, backbone).push_to_hub("me/model") == "https://hub/commit/1"
    assert sent == {file.name: file.read_bytes() for file in saved.iterdir()}


def test_a_push_without_a_network_says_how_to_keep_the_model(saved: Path, backbone: WanBackbone) -> None:
    with pytest.raises(CheckpointError, match="save_pretrained"):
        load(saved, backbone).push_to_hub("me/model")
