"""The results of all stages as one small JSON file: all that tables and figures are made from.

It holds scores, probes, costs and counts, and no path. This module computes no statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.miniature.arms import ARMS
from experiments.miniature.asking import asked_of, blind_of
from experiments.miniature.config import PRIMARY, Settings
from experiments.miniature.packing import packed
from vega3d._version import __version__
from vega3d.evaluation.run.provenance import LIBRARIES

Made = Mapping[str, Mapping[str, Any]]


def collect(settings: Settings, made: Made, rooms: Path) -> dict[str, Any]:
    """Results of a run.

    Args:
        settings: of the run.
        made: what each stage said, by its name.
        rooms: folder of the rooms' stage.
    """
    sets = [name for name in settings.counts if name != "train"]
    questions = {name: asked_of(rooms / name, settings.questions) for name in sets}
    return {
        "versions": {"vega3d": __version__} | {name: version(name) for name in LIBRARIES},
        "draws": settings.draws,
        "nframes": settings.nframes,
        "asked": settings.questions,
        "encoders": {
            name.removeprefix("encoders/"): found["files"]
            for name, found in made.items()
            if name.startswith("encoders/")
        },
        **{name: dataclasses.asdict(getattr(settings, name)) for name in ("rooms", "features", "tuning")},
        "questions": questions,
        "blind": {name: blind_of(rooms / name, settings.questions) for name in sets},
        "scores": {
            name: {arm: _seeds(settings, made, questions[name], arm, name) for arm in settings.arms}
            for name in sets
        },
        "swapped": {
            arm: _seeds(settings, made, questions[PRIMARY], arm, f"{PRIMARY}-swapped")
            for arm in settings.swapped
        },
        "failed": {
            arm: [str(s) for s in settings.seeds if not made[f"tuning/{arm}/{s}"]["finite"]]
            for arm in settings.arms
        },
        "errors": sum(found["errors"] for name, found in made.items() if name.startswith("questions/")),
        "host": {name: made["host"][name] for name in ("before", "after")} if "host" in made else {},
        "probes": {arm: dict(made[f"probes/{arm}"]) for arm in settings.arms if f"probes/{arm}" in made},
        "sweep": {
            name.removeprefix("sweep/"): found["r2"]
            for name, found in made.items()
            if name.startswith("sweep/")
        },
        "ames": {
            name.removeprefix("ames/"): dict(found)
            for name, found in made.items()
            if name.startswith("ames/")
        },
        "watch": {arm: made[f"tuning/{arm}/{settings.seeds[0]}"]["watch"] for arm in settings.arms},
        "cost": {arm: _cost(settings, made, arm) for arm in settings.arms},
    }


def _seeds(settings: Settings, made: Made, questions: list[list[str]], arm: str, name: str) -> dict[str, str]:
    """Seed to the packed scores, in the order of the questions."""
    found: dict[str, str] = {}
    for seed in settings.seeds:
        scores = made[f"questions/{arm}/{seed}/{name}"]["scores"]
        found[str(seed)] = packed(scores.get(number) for number, _, _ in questions)
    return found


def _cost(settings: Settings, made: Made, arm: str) -> dict[str, Any]:
    """Of an arm: its features over all rooms, and its tuning with one seed."""
    own = arm if ARMS[arm].listens else str(ARMS[arm].reads)
    features = made[f"features/{own}"]
    tuning = [made[f"tuning/{arm}/{seed}"] for seed in settings.seeds]
    heard = ARMS[arm].listens
    return {
        "new_parameters": tuning[0]["parameters"]["new"],
        "gflop_a_clip": features["gflop_a_clip"] if heard else 0.0,
        "feature_seconds": round(features["clock"]["cpu"], 1) if heard else 0.0,
        "feature_bytes": features["bytes"] if heard else 0,
        "tuning_seconds": round(sum(one["clock"]["cpu"] for one in tuning) / len(tuning), 1),
    }
