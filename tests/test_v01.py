"""Everything that version 0.1 wrote is read, and its settings mean what they meant.

The goldens were made by the code of 0.1: see `tests/goldens/v01/README.md`.
"""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.quality.test_docs import build_parser
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone
from vega3d.backbones.loading import load_streams
from vega3d.cli.main import main
from vega3d.errors import ConfigError, StoreError
from vega3d.pico import pico_path
from vega3d.store import FeatureKey, FeatureStore

ROOT = Path(__file__).parents[1]
GOLDENS = Path(__file__).parent / "goldens" / "v01"
CONFIGS: dict[str, Any] = json.loads((GOLDENS / "configs.json").read_text())
NAMES: dict[str, list[str]] = json.loads((GOLDENS / "names.json").read_text())
FORMS = {
    "native": [],
    "native_float32": ["--precision", "float32"],
    "native_int8": ["--precision", "int8"],
    "pooled": ["--grid", "pooled", "--cells", "2"],
}
KEPT_FORMS = tuple(FORMS)
TOLERANCE = 1e-5  # of logits around 0.2, between one processor and another


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the goldens as the working directory, since 0.1 was given relative paths."""
    shutil.copytree(GOLDENS, tmp_path / "v01")
    monkeypatch.chdir(tmp_path / "v01")
    return tmp_path / "v01"


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in ("vace_reference", "siglip")])
def test_equal_settings_have_the_fingerprint_of_0_1(name: str) -> None:
    config = Vega3DConfig.from_dict(CONFIGS[name]["config"])
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=config.backbone)
    assert wan.fingerprint() == CONFIGS[name]["fingerprint"]


def test_equal_settings_of_vace_have_the_fingerprint_of_0_1(tmp_path: Path) -> None:
    wan_goldens = GOLDENS.parent / "wan"
    shutil.copytree(wan_goldens / "diffusers" / "transformer_vace", tmp_path / "transformer")
    shutil.copytree(wan_goldens / "diffusers" / "vae", tmp_path / "vae")
    golden = CONFIGS["vace_reference"]
    config = Vega3DConfig.from_dict(golden["config"])
    prompt = load_file(wan_goldens / "golden.safetensors")["prompt"]
    wan = WanBackbone.from_pretrained(tmp_path, config=config.backbone, prompt_embeds=prompt)
    assert wan.fingerprint() == golden["fingerprint"]


def test_equal_settings_of_siglip_have_the_fingerprint_of_0_1(workplace: Path) -> None:
    config = Vega3DConfig.from_dict(CONFIGS["siglip"]["config"])
    assert load_streams(config)[0].fingerprint() == CONFIGS["siglip"]["fingerprint"]


@pytest.mark.parametrize("form", KEPT_FORMS)
def test_a_store_of_0_1_gives_the_numbers_that_it_holds(form: str) -> None:
    store = FeatureStore(GOLDENS / "stores" / form)
    (file,) = (GOLDENS / "stores" / form).glob("*.safetensors")
    tensors, entries = load_file(file), list(store.entries())
    assert len(entries) == 4  # two frames of the clip, two pictures
    for entry in entries:
        features = store.read([FeatureKey.from_dict(entry.info["key"])]).features  # type: ignore[union-attr]
        values = tensors[f"{entry.digest}.values"].float()  # (T, h, w, C)
        if form == "native_int8":
            values = values * tensors[f"{entry.digest}.scale"][..., None]
        assert torch.equal(features.float(), values.permute(3, 0, 1, 2))


@pytest.mark.parametrize("form", KEPT_FORMS)
def test_a_store_of_0_1_has_nothing_left_to_build(
    form: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--backbone", "pico", "--set", "pixels=2304", "--set", "block=1", "--nframes", "2"]
    assert main(["cache", "build", f"stores/{form}", "media/train.jsonl", *settings, *FORMS[form]]) == 0
    assert "0 runs computed" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["patch", "merged"])
def test_a_store_on_a_hosts_grid_names_0_1_and_the_command_that_rebuilds(form: str) -> None:
    with pytest.raises(StoreError, match=r"version 0\.1(?s:.)*vega3d cache build"):
        FeatureStore(GOLDENS / "stores" / form)


def test_a_store_of_pictures_that_match_a_host_names_0_1(workplace: Path) -> None:
    file = Path("stores/native/store.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"backbone": record["backbone"] | {"picture": "matched"}}))
    with pytest.raises(StoreError, match=r"version 0\.1(?s:.)*vega3d cache build"):
        FeatureStore("stores/native")


def test_a_picture_that_matches_the_host_names_0_1_and_the_command_that_rebuilds() -> None:
    config = CONFIGS["default"]["config"]
    record = config | {"backbone": config["backbone"] | {"picture": "matched"}}
    with pytest.raises(ConfigError, match=r"version 0\.1(?s:.)*vega3d cache build"):
        Vega3DConfig.from_dict(record)


@pytest.mark.parametrize("recipe", ["align", "lora"])
def test_a_checkpoint_of_0_1_has_its_logits(recipe: str, workplace: Path) -> None:
    golden = json.loads((GOLDENS / "logits.json").read_text())
    adapter = Vega3DAdapter.from_pretrained(f"checkpoints/{recipe}", backbone=None).eval()
    ids, mask = torch.tensor(golden["input_ids"]), torch.tensor(golden["attention_mask"])
    with torch.no_grad():
        logits = adapter(input_ids=ids, attention_mask=mask).logits[0, -1, :8]
    torch.testing.assert_close(logits, torch.tensor(golden["logits"][recipe]), atol=TOLERANCE, rtol=0)


def test_a_fully_trained_checkpoint_of_0_1_is_exported_with_its_logits(workplace: Path) -> None:
    golden = json.loads((GOLDENS / "logits.json").read_text())
    assert main(["export", "checkpoints/full", "exported"]) == 0
    adapter = Vega3DAdapter.from_pretrained("exported", backbone=None).eval()
    ids, mask = torch.tensor(golden["input_ids"]), torch.tensor(golden["attention_mask"])
    with torch.no_grad():
        logits = adapter(input_ids=ids, attention_mask=mask).logits[0, -1, :8]
    torch.testing.assert_close(logits, torch.tensor(golden["logits"]["full"]), atol=TOLERANCE, rtol=0)


def test_projector_and_fusion_of_0_1_are_loaded_to_the_bit(workplace: Path) -> None:
    adapter = Vega3DAdapter.from_pretrained("checkpoints/align", backbone=None)
    tensors = load_file("checkpoints/align/vega3d_model.safetensors")
    assert tensors
    assert all(torch.equal(adapter.state_dict()[name], tensor) for name, tensor in tensors.items())


def test_an_interrupted_run_of_0_1_resumes_and_ends_where_it_ended(workplace: Path) -> None:
    shutil.rmtree("runs/lora/final")
    shutil.rmtree("runs/lora/checkpoint-4")
    assert main(["train", "runs/lora/train_config.json"]) == 0
    state = json.loads(Path("runs/lora/checkpoint-4/trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [1, 2, 3, 4]
    for name in ("vega3d_model.safetensors", "lora/adapter_model.safetensors"):
        new, old = load_file(f"runs/lora/final/{name}"), load_file(GOLDENS / "runs" / "lora" / "final" / name)
        assert new.keys() == old.keys()
        for key in old:
            torch.testing.assert_close(new[key], old[key], atol=1e-4, rtol=1e-3)


def test_an_evaluation_of_0_1_is_compared_and_reported(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score = json.loads(Path("evaluation/vsibench/result.json").read_text())["micro"]["mean"]
    assert main(["eval", "compare", "evaluation/vsibench", "evaluation/vsibench", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["macro"]["difference"] == 0.0
    assert main(["eval", "report", "evaluation"]) == 0
    assert f"{score * 100:.0f} %" in (workplace / "evaluation" / "report.html").read_text()


@pytest.mark.parametrize("name", NAMES["imported"] + NAMES["entry_points"] + NAMES["documented"])
def test_a_name_that_0_1_documented_is_there(name: str) -> None:
    module, _, attribute = name.partition(":")
    if not attribute and name in NAMES["documented"]:
        try:
            importlib.import_module(name)
            return
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
    loaded = importlib.import_module(module)
    assert not attribute or hasattr(loaded, attribute)


def test_the_commands_of_0_1_and_their_options_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.goldens.v01.make import commands

    assert set(NAMES["commands"]) - commands(build_parser()) == set()


@pytest.mark.parametrize("name", NAMES["config_files"])
def test_a_config_that_0_1_shipped_is_there(name: str) -> None:
    assert (ROOT / name).is_file()
