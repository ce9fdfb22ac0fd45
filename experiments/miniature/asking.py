"""Asking a tuned arm the questions of a held-out set: VSI-Bench's protocol, by the library's runner.

What is kept of an answer is its score; questions are kept once. An arm may also be asked with another clip's
features in the place of its own. This module trains nothing and compares nothing.
"""

from __future__ import annotations

import json
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from experiments.miniature.config import Settings
from experiments.miniature.rooms import QUESTIONS
from experiments.miniature.where import task_of
from vega3d.assistant import Assistant
from vega3d.evaluation.running.answerer import Answerer
from vega3d.evaluation.running.blind import blind
from vega3d.evaluation.running.provenance import settings_of
from vega3d.evaluation.running.runner import run
from vega3d.evaluation.suites import Question, Suite

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
    task, suite = task_of(settings.questions)
    if not (asked := _read(suite, questions)):
        return {"scores": {}, "errors": 0, "headline": {}}
    answerer = Answerer(_loaded(model, store), settings.nframes, "video", suite.max_new_tokens)
    how = {"batch_size": BATCH, "swap": swap}
    journal = folder / "journal"
    result = run(task, suite, asked, answerer, journal, settings_of(task, asked, answerer, **how), **how)
    assert result is not None  # one process
    lines = (journal / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    shutil.rmtree(journal / "parts")  # the scores are what is kept
    return {
        "scores": {row["id"]: row["score"] for row in rows},
        "errors": result["count"]["errors"],
        "headline": result["headline"],
    }


@lru_cache(maxsize=1)
def _loaded(model: Path, store: Path) -> Assistant:
    """A tuned arm; it is asked about one set after the other."""
    torch.manual_seed(0)
    return Assistant.load(str(model), "none", store=store)


def asked_of(questions: Path, kind: str) -> list[list[str]]:
    """(id, scene, kind) of every question of a set, in order."""
    return [[one.id, one.scene, one.kind] for one in _read(task_of(kind)[1], questions)]


def blind_of(questions: Path, kind: str) -> dict[str, dict[str, float | None]]:
    """What answers that look at nothing reach on a set, by kind: ``vega3d.evaluation.running.blind``."""
    task, suite = task_of(kind)
    return blind(task, suite, _read(suite, questions))


def _read(suite: Suite, questions: Path) -> list[Question]:
    if not (questions / QUESTIONS).read_text(encoding="utf-8").strip():
        return []
    return suite.read(questions)
