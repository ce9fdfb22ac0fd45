"""The Ames pairs: twins that sampled frames cannot tell apart. Does an arm's answer follow its features?

Each twin is asked which thing is nearer, or how far one is (whichever the arms were taught), three times: the
tuned host alone, the arm, and the arm with the other twin's features. The pictures that the host sees are the
same in all three, so an answer that flips with the features was read off them. This module trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import vega3d
from experiments.miniature.arms import ARMS, Arm
from experiments.miniature.config import Settings
from experiments.miniature.features import load
from experiments.miniature.where import protocol_of
from vega3d.cache.build import build
from vega3d.cache.jobs import EncodeJob, JobPlanner
from vega3d.data.annotations import media_rows
from vega3d.evaluation.metrics.numbers import plain_number
from vega3d.evaluation.run.model import EvalModel, EvalRequest
from vega3d.registry import backbone_record
from vega3d.rooms.ames import export_ames
from vega3d.store import FeatureStore

KINDS = {"vsibench": "ames_nearer", "where": "ames_distance"}


def ames(
    folder: Path, arm: Arm, settings: Settings, encoders: Path, models: dict[str, Path]
) -> dict[str, Any]:
    """Ask all pairs.

    Args:
        folder: of the stage.
        arm: a source that looks at pictures.
        settings: of the run.
        encoders: folder of the encoders' stage.
        models: folders of the tuned arms ``host`` and this one.

    Returns:
        ``pairs``, the answers, and shares: right by the host, fused, swapped; ``flipped``: pairs in which
        the fused answer is right for both twins and turns with the features.
    """
    side = settings.rooms.side
    export_ames(folder, settings.ames, width=side, height=side, sampled=settings.nframes)
    rows = [json.loads(line) for line in (folder / "ames.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["question_type"] == KINDS[settings.questions]]
    videos = [folder / row["dataset"] / f"{row['scene_name']}.mp4" for row in rows]
    asked = {
        "host": _answers(folder, ARMS["host_twice"], settings, encoders, models["host"], rows, videos, False),
        "fused": _answers(folder, arm, settings, encoders, models[arm.name], rows, videos, False),
        "swapped": _answers(folder, arm, settings, encoders, models[arm.name], rows, videos, True),
    }
    truth = [row["ground_truth"] for row in rows]
    right = {
        name: [is_right(said, truth[at], truth[at ^ 1]) for at, said in enumerate(own)]
        for name, own in asked.items()
    }
    shares = {name: sum(own) / max(1, len(own)) for name, own in right.items()}
    return {"pairs": len(rows) // 2, "truth": truth, "answers": asked, **shares, "flipped": flipped(right)}


def is_right(said: str, true: str, twins: str) -> bool:
    """The letter; or metres that are nearer to the truth than to what is true of the twin."""
    if true.isalpha():
        return said[:1] == true
    metres = plain_number(said)
    return metres is not None and abs(metres - float(true)) < abs(metres - float(twins))


def flipped(right: dict[str, list[bool]]) -> float:
    """Share of pairs (neighbours in the lists): fused right in both twins, swapped wrong in both."""
    pairs = range(0, len(right["fused"]) - 1, 2)
    hits = [all(right["fused"][at : at + 2]) and not any(right["swapped"][at : at + 2]) for at in pairs]
    return sum(hits) / max(1, len(hits))


def _answers(
    folder: Path,
    arm: Arm,
    settings: Settings,
    encoders: Path,
    model: Path,
    rows: Sequence[dict[str, Any]],
    videos: Sequence[Path],
    swap: bool,
) -> list[str]:
    """The answer to each twin; the donor of a twin is the other one, its neighbour."""
    store = _store(folder, arm, settings, encoders, videos)
    torch.manual_seed(0)
    answerer = EvalModel(vega3d.load(str(model), "none", store=store), settings.nframes, "video")
    prompt = protocol_of(settings.questions).prompt
    assert prompt is not None
    found = []
    for at, (row, video) in enumerate(zip(rows, videos, strict=True)):
        donor = videos[at ^ 1] if swap else None
        (text,) = answerer.answer([EvalRequest(prompt(row), video, donor=donor)])
        found.append(text.strip())
    return found


def _store(folder: Path, arm: Arm, settings: Settings, encoders: Path, videos: Sequence[Path]) -> Path:
    """The features of the twins."""
    backbone = load(arm, settings, encoders)
    config = backbone.spec.config
    store = FeatureStore.create(
        folder / arm.name, fingerprint=backbone.fingerprint(), backbone=backbone_record(config)
    )
    sources = list(dict.fromkeys(str(video) for video in videos))
    found = JobPlanner(config).of(media_rows(sources, {"nframes": settings.nframes}))
    build(store, backbone, [job for jobs in found for job in jobs if isinstance(job, EncodeJob)])
    return store.path
