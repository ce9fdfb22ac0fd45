"""Make the goldens of version 0.1. Run it with the code of that version, never with a later one.

    git worktree add ../v01 40511a9
    cd ../v01 && PYTHONPATH=. python PATH_OF_THIS_FILE OUT

Everything is made by the commands and classes of 0.1: tiny models with seeded random weights
(`tests/tiny.py`, `tests/processors.py` of that commit), and the shipped pico models.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import json
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests import media, processors, tiny
from tests.adapter.siglips import save_siglip
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.backbones.loading import load_streams
from vega3d.cli.main import build_parser, main
from vega3d.config import FusionConfig, SiglipConfig
from vega3d.pico import pico_path

ROOT = Path.cwd()  # a checkout of 0.1
PICO = {"path": str(pico_path("wan")), "block": 1, "pixels": 48 * 48}
CONFIGS: dict[str, Vega3DConfig] = {
    "default": Vega3DConfig(WanConfig(**PICO)),
    "paper": Vega3DConfig(WanConfig(**PICO, sigma=0.5), fusion=FusionConfig("paper")),
    "released_3d": Vega3DConfig.reference("3d", path=PICO["path"], block=1, size=(96, 64)),
    "released_vsi": Vega3DConfig.reference("vsi", path=PICO["path"], block=2, size=(96, 64)),
    "window": Vega3DConfig(WanConfig(**PICO, mode="window", window=9)),
    "joint": Vega3DConfig(WanConfig(**PICO, mode="joint", length=3)),
    "clip": Vega3DConfig(WanConfig(**PICO, mode="clip", between=1, length=5)),
    "draws": Vega3DConfig(WanConfig(**PICO, draws=3, seed=7, noise="shared", residual="model")),
    "pooled_bfloat16": Vega3DConfig(
        WanConfig(**PICO, pool=2, dtype="bfloat16", micro_batch=2, attention="native")
    ),
    "vace_reference": Vega3DConfig(
        WanConfig(block=4, mode="vace_reference", picture="reference", size=(96, 64))
    ),
}
STORES = {
    "native": [],
    "native_float32": ["--precision", "float32"],
    "native_int8": ["--precision", "int8"],
    "pooled": ["--grid", "pooled", "--cells", "2"],
    "patch": ["--grid", "patch", "--cells", "2", "--host", "host"],
    "merged": ["--grid", "merged", "--host", "host"],
}
RECIPES = ("align", "lora", "full")


def run(*words: str) -> None:
    """Call one command of `vega3d`."""
    code = main(list(words))
    if code:
        raise SystemExit(f"vega3d {' '.join(words)}: exit {code}")


def write(file: Path, record: Any) -> None:
    """Write JSON."""
    file.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def make_inputs(out: Path) -> None:
    """Write a host, a video, pictures and annotation rows."""
    host = tiny.make_host("qwen2_5_vl")
    host.save_pretrained(out / "host")
    processors.host_processor().save_pretrained(out / "host")
    (out / "media").mkdir()
    media.write_video(out / "media" / "a.mp4", 6)
    for number in range(2):
        media.photo(60, 60, seed=number).save(out / "media" / f"{number}.png")
    rows = [
        row("<video>\nHow many?", "3", video="a.mp4"),
        row("<image>\nWhat?", "a bed", image="0.png"),
        row("<image><image>\nWhich?", "one", image=["0.png", "1.png"]),
        row("Two and two?", "four"),
    ]
    (out / "media" / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


def row(asked: str, answered: str, **media_of: Any) -> dict[str, Any]:
    """Make a LLaVA row."""
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    return {**media_of, "conversations": turns}


def make_configs(out: Path) -> None:
    """Write ten settings with the fingerprint of the generator that is loaded with them."""
    goldens = ROOT / "tests" / "goldens" / "wan"
    vace = out / "vace"
    shutil.copytree(goldens / "diffusers" / "transformer_vace", vace / "transformer")
    shutil.copytree(goldens / "diffusers" / "vae", vace / "vae")
    prompt = load_file(goldens / "golden.safetensors")["prompt"]
    records: dict[str, Any] = {}
    for name, config in CONFIGS.items():
        is_vace = config.backbone.mode.startswith("vace")
        path, embeds = (vace, prompt) if is_vace else (PICO["path"], None)
        wan = WanBackbone.from_pretrained(path, config=config.backbone, prompt_embeds=embeds)
        loaded = dataclasses.replace(config, backbone=dataclasses.replace(wan.config, path=None))
        records[name] = {"config": loaded.to_dict(), "fingerprint": wan.fingerprint()}
    shutil.rmtree(vace)
    siglip = save_siglip(out / "siglip", image_size=28)
    config = Vega3DConfig(WanConfig(**PICO), semantic_streams=(SiglipConfig(path=str(siglip), layer=-2),))
    records["siglip"] = {
        "config": {**config.to_dict(), "backbone": records["default"]["config"]["backbone"]},
        "fingerprint": load_streams(config)[0].fingerprint(),
    }
    records["siglip"]["config"]["semantic_streams"][0]["path"] = "siglip"
    write(out / "configs.json", records)


def make_stores(out: Path) -> None:
    """Build a store in every form."""
    settings = ["--backbone", "pico", "--set", "pixels=2304", "--set", "block=1", "--nframes", "2"]
    for name, form in STORES.items():
        run("cache", "build", f"stores/{name}", "media/train.jsonl", *settings, *form)


def make_runs(out: Path) -> None:
    """Train four steps by every recipe; keep one run whole, and the final folder of the others."""
    for recipe in RECIPES:
        settings: dict[str, Any] = {
            "model": {
                "host": "host",
                "backbone": {"path": "pico", "block": 1, "pixels": 2304},
                "fusion": {"type": "gated_residual", "hidden": 16},
            },
            "recipe": recipe,
            "data": [{"file": "media/train.jsonl"}],
            "sampling": {"nframes": 2},
            "new_modules_lr": 1e-2,
            "trainer": {
                "output_dir": f"runs/{recipe}",
                "per_device_train_batch_size": 2,
                "max_steps": 4,
                "learning_rate": 1e-3,
                "logging_steps": 1,
                "save_steps": 2,
                "save_strategy": "steps",
                "use_cpu": True,
                "disable_tqdm": True,
                "seed": 3,
            },
        }
        if recipe == "lora":
            settings["lora"] = {"rank": 2, "alpha": 4}
        write(out / f"{recipe}.json", settings)
        run("train", f"{recipe}.json")
        (out / f"{recipe}.json").unlink()
        final = out / "runs" / recipe / "final"
        shutil.copytree(final, out / "checkpoints" / recipe)
    for recipe in ("align", "full"):
        shutil.rmtree(out / "runs" / recipe)
    run("export", "checkpoints/full", "exported")  # names its host by an absolute path, so it is not kept
    write_logits(out)


def write_logits(out: Path) -> None:
    """Write the logits of every checkpoint for one batch without a generator, and of the bare host."""
    batch = tiny.make_batch(tiny.make_host("qwen2_5_vl"), [[("image", 1, 4, 4)], []])
    ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
    text = {name: value[1:] for name, value in ids.items()}
    logits = {}
    for recipe in RECIPES:
        folder = "exported" if recipe == "full" else f"checkpoints/{recipe}"
        adapter = Vega3DAdapter.from_pretrained(folder, backbone=None).eval()
        with torch.no_grad():
            logits[recipe] = adapter(**text).logits[0, -1, :8].tolist()
    shutil.rmtree(out / "exported")
    write(
        out / "logits.json",
        {
            "input_ids": text["input_ids"].tolist(),
            "attention_mask": text["attention_mask"].tolist(),
            "logits": logits,
        },
    )


def make_evaluation(out: Path) -> None:
    """Ask pico a few questions about a room."""
    run(
        "rooms", "make", "--scenes", "1", "--size", "64", "--frames", "8", "--per-type", "1", "--out", "rooms"
    )
    run(
        "eval",
        "run",
        "pico",
        "--tasks",
        "vsibench",
        "--data",
        "rooms",
        "--out",
        "evaluation",
        "--frames",
        "2",
        "--limit",
        "6",
        "--device",
        "cpu",
        "--quiet",
    )


def public_names() -> dict[str, list[str]]:
    """Names that README, docs, examples, configs, recipes and entry points import or call."""
    imported: set[str] = set()
    for file in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", file.read_text(encoding="utf-8"), re.DOTALL):
            imported |= imports(block)
    for folder in ("examples", "eval", "train"):
        for file in (ROOT / folder).glob("*.py"):
            if not file.name.startswith("pico"):
                imported |= imports(file.read_text(encoding="utf-8"))
    documented = {
        name
        for file in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"^::: ([\w.]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "imported": sorted(imported),
        "documented": sorted(documented),
        "entry_points": sorted(
            [
                *project["scripts"].values(),
                *(v for group in project["entry-points"].values() for v in group.values()),
            ]
        ),
        "commands": sorted(commands(build_parser())),
        "config_files": sorted(str(file.relative_to(ROOT)) for file in (ROOT / "configs").rglob("*.yaml")),
    }


def imports(code: str) -> set[str]:
    """Dotted names that a piece of code imports from vega3d, and attributes that it takes of its modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vega3d":
            names |= {f"{node.module}:{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.split(".")[0] == "vega3d"}
    return names


def commands(parser: argparse.ArgumentParser, prefix: str = "vega3d") -> set[str]:
    """Every command with each of its options and arguments."""
    names: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                names |= commands(child, f"{prefix} {name}")
        else:
            names |= {f"{prefix} {name}" for name in action.option_strings or [action.dest.upper()]}
    return names


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    target.mkdir(parents=True)
    write(target / "names.json", public_names())
    torch.set_num_threads(1)
    os.chdir(target)
    make_inputs(target)
    make_configs(target)
    make_stores(target)
    make_runs(target)
    make_evaluation(target)
