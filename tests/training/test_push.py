"""A trained model can be pushed to a hub and loaded from it by anybody, by the hub's real client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import close_session, constants
from torch import Tensor

from tests import hub_server
from tests.training.conftest import PICO_PROCESSOR, config
from vega3d import Vega3DAdapter
from vega3d._utils.files import read_json
from vega3d.cli.main import main
from vega3d.errors import CheckpointError
from vega3d.pico import PICO_DIR
from vega3d.training.export import export, merge, push
from vega3d.training.finetune import train

MODEL = {"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}}


@pytest.fixture(scope="module")
def trained(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a LoRA run, with its optimizer."""
    out = tmp_path_factory.mktemp("run")
    train(config(annotations, out, "lora", model=MODEL, trainer={"max_steps": 2}))
    return out / "checkpoint-2"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub_server.Hub]:
    """A hub that the hub's client in this process takes for the real one."""
    with hub_server.serve() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        template = f"{running.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(constants, name, value)
        close_session()
        yield running
    close_session()


def trained_tensors(name: str | Path) -> dict[str, Tensor]:
    """Projector, fusion, LoRA and one of the host's own tensors, as loaded under a name."""
    model = Vega3DAdapter.from_pretrained(name, backbone=None)
    wanted = ("projector", "fusion", "host.lm_head")
    return {n: p for n, p in model.named_parameters() if "lora" in n or n.startswith(wanted)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_pushed_run_is_loaded_by_its_id_with_its_lora(
    trained: Path, hub: hub_server.Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "me/rooms"]) == 0
    assert capsys.readouterr().out.startswith(f"{hub.address}/me/rooms/commit/")
    found = trained_tensors("me/rooms")
    assert same(found, trained_tensors(trained))
    assert any("lora" in name for name in found)


def test_nothing_of_the_runs_own_state_and_no_path_is_pushed(trained: Path, hub: hub_server.Hub) -> None:
    push(trained, "me/rooms")
    lora = ["lora/adapter_config.json", "lora/adapter_model.safetensors"]
    pushed = hub.repos["me/rooms"]
    own = ["README.md", *lora, "vega3d_config.json", "vega3d_model.safetensors"]
    assert sorted(pushed) == sorted([*own, *PICO_PROCESSOR])
    text = b"".join(content for name, content in pushed.items() if not name.endswith(".safetensors"))
    assert str(PICO_DIR).encode() not in text
    assert str(trained.parent).encode() not in text


def test_a_loaded_model_is_pushed_with_its_lora(trained: Path, hub: hub_server.Hub) -> None:
    model = Vega3DAdapter.from_pretrained(trained, backbone=None)
    assert model.push_to_hub("me/rooms").startswith(f"{hub.address}/me/rooms/commit/")
    found = trained_tensors("me/rooms")
    assert same(found, trained_tensors(trained))
    assert any("lora" in name for name in found)


def test_lora_of_an_earlier_push_goes_with_the_next_one(
    trained: Path, annotations: Path, hub: hub_server.Hub, tmp_path: Path
) -> None:
    push(trained, "me/rooms")
    settings = {"max_steps": 1, "save_strategy": "no"}
    align = train(config(annotations, tmp_path, "align", model=MODEL, trainer=settings))
    push(align, "me/rooms")
    own = ["README.md", "vega3d_config.json", "vega3d_model.safetensors"]
    assert sorted(hub.repos["me/rooms"]) == sorted([*own, *PICO_PROCESSOR])
    assert same(trained_tensors("me/rooms"), trained_tensors(align))


def test_a_merged_host_goes_to_a_repository_of_its_own(
    trained: Path, hub: hub_server.Hub, tmp_path: Path
) -> None:
    merged = merge(trained, tmp_path / "merged")
    commits = push(merged, "me/rooms", host="me/rooms-host")
    assert [commit.split("/commit/")[0] for commit in commits] == [
        f"{hub.address}/me/rooms-host",
        f"{hub.address}/me/rooms",
    ]
    assert not any(name.startswith("host/") for name in hub.repos["me/rooms"])
    assert same(trained_tensors("me/rooms"), trained_tensors(merged))


def test_a_host_that_only_this_disk_knows_is_refused(trained: Path, tmp_path: Path) -> None:
    merged = merge(trained, tmp_path / "merged")
    with pytest.raises(CheckpointError, match="--host ID"):
        push(merged, "me/rooms")


def test_the_card_of_a_pushed_run_loads_it_by_its_id(trained: Path, hub: hub_server.Hub) -> None:
    push(trained.parent / "final", "me/rooms")
    pushed = hub.repos["me/rooms"]["README.md"].decode()
    assert 'vega3d.load("me/rooms")' in pushed
    assert "| recipe | lora |" in pushed
    assert str(trained.parent) not in pushed


def test_a_card_that_somebody_wrote_is_pushed(trained: Path, hub: hub_server.Hub, tmp_path: Path) -> None:
    exported = export(trained, tmp_path / "exported")
    (exported / "README.md").write_text("# Mine\n")
    push(exported, "me/rooms")
    assert hub.repos["me/rooms"]["README.md"] == b"# Mine\n"


def test_the_shipped_models_are_saved_by_name(trained: Path) -> None:
    saved = read_json(trained / "vega3d_config.json", "settings")
    assert (saved["host"]["path"], saved["backbone"]["path"]) == ("pico", "pico")
