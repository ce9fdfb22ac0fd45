"""The frozen transformers of a run, each in a folder that ``WanBackbone.from_pretrained`` reads.

All share the VAE and the empty prompt of the video model, so arms differ in one transformer. Those that a
config gives no folder for are trained here by the scripts in ``train/pico/``, on the same clips for the same
steps. Architectures have to be equal unless a config says otherwise. This module knows no arm.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers import AutoencoderKLWan, WanTransformer3DModel

from experiments.miniature.config import Encoders
from experiments.miniature.stages import digest_of_files
from train.pico import clips, control, flow, latents
from vega3d.errors import ConfigError
from vega3d.pico import pico_path

PROMPT = "prompt_embeds.safetensors"
WAN, CLIPS, LATENTS = "wan", "clips", "latents"


def wan_folder(settings: Encoders) -> Path:
    """Folder of the video model."""
    return pico_path("wan") if settings.wan == "pico" else Path(settings.wan)


def make_clips(folder: Path, settings: Encoders) -> dict[str, Any]:
    """The clips that encoders are trained on, and their latents; both know how far they are."""
    vae = AutoencoderKLWan.from_pretrained(wan_folder(settings) / "vae", torch_dtype=torch.float32)
    counts = {"train": settings.clips, "val": settings.held_out_clips}
    for split, count in counts.items():
        made = clips.Clips(folder / CLIPS, split, count)
        made.fill(count)
        latents.Latents(folder / LATENTS, split, count).fill(made, vae, count)
    return counts


def given(name: str, settings: Encoders) -> Path | None:
    """Folder of a transformer that is not trained or drawn here."""
    if name == "video":
        return wan_folder(settings) / "transformer"
    path = getattr(settings, name, None)
    return None if path is None else Path(path)


def is_trained(name: str, settings: Encoders) -> bool:
    """True if an encoder has to be trained here."""
    return name != "untrained" and given(name, settings) is None


def make_encoder(folder: Path, name: str, settings: Encoders, clips: Path) -> dict[str, Any]:
    """An encoder as ``<folder>/wan``.

    Args:
        folder: of the stage; a training in it goes on from its last checkpoint.
        name: which one.
        settings: of the encoders.
        clips: folder that ``make_clips`` filled.
    """
    transformer = given(name, settings)
    if name == "untrained":
        transformer = _untrained(folder / "drawn", settings)
    elif transformer is None:
        _train(folder / "run", name, settings, clips)
        transformer = folder / "run" / "transformer"
    _assemble(folder / WAN, transformer, wan_folder(settings))
    _require_same_size(folder / WAN, name, settings)
    return {"files": digest_of_files(folder / WAN)}


def _untrained(folder: Path, settings: Encoders) -> Path:
    """The video model's architecture with the weights that its training script would begin with."""
    config = WanTransformer3DModel.load_config(wan_folder(settings) / "transformer")
    torch.manual_seed(settings.seed)
    WanTransformer3DModel.from_config(config).to(torch.bfloat16).save_pretrained(folder / "transformer")
    return folder / "transformer"


def _train(run: Path, name: str, settings: Encoders, clips: Path) -> None:
    """By the script for it; killed at any time, it goes on from its last checkpoint."""
    run.mkdir(parents=True, exist_ok=True)
    args = argparse.Namespace(
        latents=clips / LATENTS, cache=clips / CLIPS, run=run, steps=settings.steps, minutes=0.0,
        capacity=settings.clips, val=settings.held_out_clips, batch=settings.batch, lr=settings.lr,
        seed=settings.seed, threads=torch.get_num_threads(), eager=not settings.compiled,
    )  # fmt: skip
    if name == "image":
        args.kind = "image"
        flow.train(args)
    else:
        args.task = name
        control.train(args)


def _assemble(home: Path, transformer: Path, wan: Path) -> None:
    for source, target in ((transformer, home / "transformer"), (wan / "vae", home / "vae")):
        shutil.copytree(source, target, dirs_exist_ok=True)
    shutil.copyfile(wan / PROMPT, home / PROMPT)


def _require_same_size(home: Path, name: str, settings: Encoders) -> None:
    """Refuse another architecture: the arm would then ask two questions at once."""
    if not settings.same_size:
        return
    own, wanted = (_shape(path) for path in (home / "transformer", wan_folder(settings) / "transformer"))
    if own != wanted:
        names = sorted(key for key in {*own, *wanted} if own.get(key) != wanted.get(key))
        raise ConfigError(
            f"The encoder {name!r} is not of the video model's size.",
            got={key: own.get(key) for key in names},
            expected={key: wanted.get(key) for key in names},
            fix="train it with the same architecture, or set encoders.same_size=false and say so",
        )


def _shape(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {key: value for key, value in record.items() if not key.startswith("_")}
