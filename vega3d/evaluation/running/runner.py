"""A run: every question asked once, every answer on disk as soon as it is known, and then the result.

Decision: batches are fixed by the questions alone (by clip, in the order of the suite), and a batch that was
cut short is asked again as a whole. So an answer does not depend on where a run was killed or on how many
processes shared it: each takes a run of consecutive batches. A question that cannot be asked becomes a
recorded error (`asking`). Settings name what decides an answer; the journal refuses to mix two runs.

Under `accelerate launch` each process asks its share, and the first one writes the result.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vega3d.errors import ConfigError
from vega3d.evaluation.running.answerer import Answerer
from vega3d.evaluation.running.asking import Faults, ask
from vega3d.evaluation.running.journal import Journal
from vega3d.evaluation.running.result import belongs, result_of
from vega3d.evaluation.running.written import write_result
from vega3d.evaluation.suites import Question, Suite
from vega3d.evaluation.suites.media import Media, signature
from vega3d.evaluation.task import Task

Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class Share:
    """This process among those of the run; ``wait`` returns when all have called it."""

    rank: int = 0
    world: int = 1
    wait: Callable[[], None] = lambda: None


def run(
    task: Task,
    suite: Suite,
    questions: Sequence[Question],
    answerer: Answerer,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    batch_size: int = 1,
    swap: bool = False,
    share: Share | None = None,
    progress: Progress = lambda done, total, left: None,
) -> dict[str, Any] | None:
    """Ask what is still to be asked, then write ``samples.jsonl`` and ``result.json``.

    Args:
        task: the protocol.
        suite: whose questions they are.
        questions: with unique ids.
        answerer: the model.
        folder: of the run; one that was begun is taken up where it was left.
        settings: what decides an answer; part of the result.
        batch_size: questions that are answered together; all about one clip.
        swap: give the generator another clip's frames.
        share: this process among several.
        progress: called after each batch with (done, total, seconds left) of this process.

    Returns:
        The result, in the first process; None in the others.

    Raises:
        ConfigError: two questions have one id, or the folder holds another run.
        InputError: no question can be prepared.
        WriteError: the disk is full; what was answered is kept.
    """
    share = share or Share()
    questions = [question for question in questions if belongs(task, question)]
    _require_unique(questions)
    if (suite.prompt or task.prompt) is None:
        raise ConfigError(
            f"{task.name} has no prompt.", got=None, expected="a task with one", fix="score a file"
        )
    if share.rank == 0:
        journal = Journal(folder, settings, 0)
    share.wait()  # run.json is there before the others look
    journal = Journal(folder, settings, share.rank)
    donors = donors_of(questions) if swap else {}
    known = journal.samples()
    share.wait()  # nobody writes before all have read
    todo = [b for b in batches_of(questions, batch_size) if any(q.id not in known for q in b)]
    if share.rank == 0 and todo and journal.damaged:
        _warn_of_damage(journal)
    mine = _part(todo, share)
    start = time.monotonic()
    faults = Faults(works=bool(known))
    for number, batch in enumerate(mine, 1):
        _record(journal, faults.settled(*ask(task, suite, batch, answerer, donors)), known)
        progress(number, len(mine), (time.monotonic() - start) / number * (len(mine) - number))
    _record(journal, faults.rest(), known)
    share.wait()
    return _finish(task, suite, questions, journal, settings) if share.rank == 0 else None


def _record(journal: Journal, samples: Sequence[Mapping[str, Any]], known: Collection[str]) -> None:
    for sample in samples:
        if sample["key"] not in known:
            journal.add(sample)


def _part(batches: list[list[Question]], share: Share) -> list[list[Question]]:
    """The batches of this process: consecutive ones, so that few clips are decoded by two processes."""
    edges = [len(batches) * rank // share.world for rank in (share.rank, share.rank + 1)]
    return batches[edges[0] : edges[1]]


def batches_of(questions: Sequence[Question], size: int) -> list[list[Question]]:
    """Questions about one clip in batches of at most ``size``; clips in the order of their first question."""
    by_clip: dict[Media, list[Question]] = {}
    for question in questions:
        by_clip.setdefault(question.media, []).append(question)
    return [own[at : at + size] for own in by_clip.values() for at in range(0, len(own), size)]


def donors_of(questions: Sequence[Question]) -> dict[Media, Media]:
    """For each clip the next one; no clip gives to itself.

    Raises:
        ConfigError: there is only one clip.
    """
    clips = list(dict.fromkeys(question.media for question in questions))
    if len(clips) < 2:
        raise ConfigError(
            "Features cannot be swapped.",
            got=f"{len(clips)} clip",
            expected="two or more",
            fix="raise --limit",
        )
    return dict(zip(clips, [*clips[1:], clips[0]], strict=True))


def data_digest(questions: Sequence[Question]) -> str:
    """SHA-256 of all records, and of name and size of all clips; their pixels are not read."""
    digest = hashlib.sha256()
    for question in questions:
        row = [question.id, dict(question.record), question.scene, signature(question.media)]
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _finish(
    task: Task, suite: Suite, questions: Sequence[Question], journal: Journal, settings: Mapping[str, Any]
) -> dict[str, Any]:
    result, rows = result_of(task, suite, questions, journal.samples(), settings)
    write_result(journal.folder, result, rows)
    return result


def _warn_of_damage(journal: Journal) -> None:
    count, places = len(journal.damaged), ", ".join(journal.damaged[:5])
    warnings.warn(
        f"{count} line{'s' if count > 1 else ''} of {journal.folder / 'parts'} damaged: {places}"
        f"{', ...' if count > 5 else ''}. Their questions are asked again.",
        stacklevel=3,
    )


def _require_unique(questions: Sequence[Question]) -> None:
    seen: set[str] = set()
    for question in questions:
        if question.id in seen:
            raise ConfigError(
                "Two questions have one id.", got=question.id, expected="unique ids", fix="check the data"
            )
        seen.add(question.id)
