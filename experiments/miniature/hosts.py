"""The host of a run: the shipped one, one in a folder, or the shipped one with new eyes that know no depth.

A host whose eyes know depth cannot show what another network's depth adds, and the shipped one's do: a helper
loss taught it. So ``eyes`` gives it new ones, taught what is there and not where (``train/pico_host.py
--what-only --eyes-of``); its language model stays as it is. This module knows no arm.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from experiments.miniature.config import Eyes
from experiments.miniature.encoders import script
from experiments.miniature.stages import digest_of_files
from vega3d.pico import pico_path

HELD_OUT = 60  # scenes on which the training reports how far it is


def make_host(folder: Path, settings: Eyes) -> dict[str, Any]:
    """Train the eyes; a killed training goes on from its last checkpoint. The host lies in ``run/host``."""
    data, host = script("pico_data"), script("pico_host")
    resize = data.processor_resize()
    for split, scenes in (("val", HELD_OUT), ("train", settings.scenes)):
        data.Cache(folder / "cache", split, scenes).fill(resize, scenes)
    host.train(
        argparse.Namespace(
            cache=folder / "cache", run=folder / "run", capacity=settings.scenes, val=HELD_OUT,
            minutes=settings.minutes, stop=float("inf"), batch=settings.batch, questions=16,
            looking=settings.looking, lr=settings.lr, helper=1.0, what_only=True, eyes_of=pico_path("host"),
            seed=settings.seed, threads=torch.get_num_threads(), eager=not settings.compiled,
            eval_every=10.0, eval_scenes=24,
        )
    )  # fmt: skip
    return {"files": digest_of_files(made(folder))}


def made(folder: Path) -> Path:
    """Where ``make_host`` leaves the host."""
    return folder / "run" / "host"
