"""Asking a tuned arm the questions of a held-out set: VSI-Bench's protocol, by the library's runner.

What is kept of an answer is its score; questions are kept once. An arm may also be asked with another clip's
features in the place of its own. This module trains nothing and compares nothing.
"""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import vega3d
from experiments.miniature.config import Settings
from experiments.miniature.rooms import QUESTIONS
from experiments.miniature.where import protocol_of
from vega3d.evaluation import Protocol, Sample
from vega3d.evaluation.run.baselines import baselines
from vega3d.evaluation.run.model import EvalModel
from vega3d.evaluation.run.provenance import settings_of
from vega3d.evaluation.run.runner import run
from vega3d.pipeline import Pipeline

BATCH = 16  # questions about one room, twice as fast as one by one; the same batches for every arm


def ask(
    folder: Path, model: Path, store: Path, settings: Settings, questions: Path, swap: bool = False
) -> dict[str, Any]:
    """Ask every question of a set; an interrupted attempt is taken up where it was.

    Args:
        folder: of the stage.
        model: folder of the tuned arm.
        store: its features.
        settings: of the run.
        questions: folder of the set.
        swap: the features of another clip.

    Returns:
        ``scores`` by question id, None for one that was not answered; counts; the official headline.
    """
    protocol = protocol_of(settings.questions)
    if not (asked := _read(protocol, questions)):
        return {"scores": {}, "errors": 0, "headline": {}}
    tokens = protocol.benchmark.max_new_tokens
    answerer = EvalModel(_loaded(model, store), settings.nframes, "video", tokens)
    how = {"batch_size": BATCH, "swap": swap}
    journal = folder / "journal"
    finished = run(protocol, asked, answerer, journal, settings_of(protocol, asked, answerer, **how), **how)
    assert finished is not None  # one process
    result, rows = finished
    shutil.rmtree(journal / "parts")  # the scores are what is kept
    return {
        "scores": {row["id"]: row["score"] for row in rows},
        "errors": result["count"]["errors"],
        "headline": result["headline"],
    }


@lru_cache(maxsize=1)
def _loaded(model: Path, store: Path) -> Pipeline:
    """A tuned arm; it is asked about one set after the other."""
    torch.manual_seed(0)
    return vega3d.load(str(model), "none", store=store)


def asked_of(questions: Path, kind: str) -> list[list[str]]:
    """(id, scene, kind) of every question of a set, in order."""
    return [[one.id, one.scene, one.kind] for one in _read(protocol_of(kind), questions)]


def blind_of(questions: Path, kind: str) -> dict[str, dict[str, float | None]]:
    """Scores of answers that look at nothing on a set, by kind: ``vega3d.evaluation.run.baselines``."""
    protocol = protocol_of(kind)
    return baselines(protocol, _read(protocol, questions))


def _read(protocol: Protocol, questions: Path) -> list[Sample]:
    if not (questions / QUESTIONS).read_text(encoding="utf-8").strip():
        return []
    return protocol.samples(questions)
