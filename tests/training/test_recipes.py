"""Configs and recipes run, and say what they need."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from tests import media
from tests.training.conftest import row
from vega3d.rooms import export_rooms
from vega3d.training.config import load_config
from vega3d.training.finetune import train, training_arguments
from vega3d.training.validation import Options, validate

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs" / "train").glob("*.yaml"))
RECIPES = ("align", "lora", "full")
HEADINGS = ("# Needs ", "# Launch ", "# Override ", "# Limits ")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_is_understood_and_opens_with_what_it_needs(path: Path) -> None:
    config = load_config(path, ["trainer.deepspeed=null", "trainer.bf16=false", "trainer.use_cpu=true"])
    assert training_arguments(config).output_dir == f"out/{path.stem}"
    text = path.read_text(encoding="utf-8")
    assert all(heading in text for heading in HEADINGS)
    assert (
        f"vega3d train configs/train/{path.name}" in text or f"main train configs/train/{path.name}" in text
    )
    assert path.stem.endswith(config.recipe)


TINY = ["model.host=pico", "model.backbone.path=pico", "model.backbone.block=1", "trainer.use_cpu=true"]


def stand_in(root: Path, name: str) -> None:
    """A tiny annotation file with the fields of the real one, and its media."""
    media.photo(90, 60).save(root / "a.png")
    frames = root / "scannet" / "scene0000_00"
    frames.mkdir(parents=True, exist_ok=True)
    for number in range(32):
        media.photo(64, 48, seed=number).save(frames / f"{number}.jpg")
    pictures = row("<image>\n<image>\nWhich is closer?", "the chair", images=["a.png", "a.png"])
    rows = {
        "spar_234k.json": [{**pictures, "id": "1", "spar_info": '{"type": "camera_motion_infer"}'}],
        "llava_hound_64k.json": [row("<video>\nWhat happens?", "Little.", video="scannet/scene0000_00")],
        "sqa3d_train_llava_style.json": [row("<image> I sit. Where?", "left", video="scannet/scene0000_00")],
        "scanqa_train_llava_style.json": [row("<image> What is red?", "bed", video="scannet/scene0000_00")],
        "conversations.jsonl": [row("<image>\nWhat?", "a lamp", image="a.png")],
    }[Path(name).name]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows)
    Path(name).write_text(lines)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_validates_against_tiny_stand_ins(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "configs" / "deepspeed", tmp_path / "configs" / "deepspeed")
    for one in load_config(path).data:
        root = Path(one.root) if one.root is not None else Path(str(one.file)).parent
        root.mkdir(parents=True, exist_ok=True)
        stand_in(root, str(one.file))
    report = validate(path, TINY, Options(gpus=8))
    assert [str(one.error) for one in report.findings] == []
    assert report.rows.checked == len(load_config(path).data)
    assert report.plan is not None
    assert report.plan.steps >= 1


@pytest.mark.parametrize("size", ["3b", "7b"])
def test_every_size_has_every_recipe(size: str) -> None:
    assert {path.stem for path in CONFIGS} >= {f"qwen2_5_vl_{size}_{recipe}" for recipe in RECIPES}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "deepspeed").glob("*.json")), ids=lambda p: p.stem
)
def test_deepspeed_takes_batch_clipping_and_precision_from_the_trainer(path: Path) -> None:
    settings = json.loads(path.read_text(encoding="utf-8"))
    assert (
        settings["gradient_clipping"] == settings["train_batch_size"] == settings["bf16"]["enabled"] == "auto"
    )
    assert str(settings["zero_optimization"]["stage"]) in path.stem


def test_the_pico_recipe_trains_on_rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_rooms("out/rooms", 1, 0, split="train", width=64, height=64, frames=8, held_out=True)
    config = load_config(ROOT / "configs" / "train" / "rooms_pico_lora.yaml", ["trainer.max_steps=2"])
    assert (train(config) / "lora").is_dir()


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_script_trains_the_same_weights_as_the_command(
    recipe: str, annotations: Path, tmp_path: Path
) -> None:
    from tests.training.conftest import config

    trainer = {"max_steps": 2, "save_strategy": "no"}
    settings = config(annotations, tmp_path / "command", recipe, trainer=trainer)
    folder = train(settings)
    record = settings.to_dict()
    record["trainer"]["output_dir"] = str(tmp_path / "script")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(record))))
    command = [sys.executable, str(ROOT / "train" / "sft.py"), str(file)]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for written in folder.rglob("*.safetensors"):
        expected = load_file(written)
        found = load_file(tmp_path / "script" / "final" / written.relative_to(folder))
        assert all((found[name] == tensor).all() for name, tensor in expected.items())
    assert dataclasses.asdict(load_config(file))["trainer"]["output_dir"] == str(tmp_path / "script")
