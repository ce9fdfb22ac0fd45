"""A run: every question asked once, every answer on disk as soon as it is known, and then the result.

Decision: batches are fixed by the samples alone (by clip, in the order of the benchmark). A batch that was
cut short is asked again as a whole. So an answer does not depend on where a run was killed or on how many
processes shared it: each takes a run of consecutive batches. A question that cannot be asked becomes a
recorded error (`asking`). Settings name what decides an answer; the journal refuses to mix two runs.

Under `accelerate launch` each process asks its share, and the first one writes the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vega3d._utils.progress import Progress, no_progress
from vega3d.errors import ConfigError
from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.media import Media
from vega3d.evaluation.run.asking import Faults, ask
from vega3d.evaluation.run.journal import Journal
from vega3d.evaluation.run.model import EvalModel
from vega3d.evaluation.run.results import result_of, write_result


@dataclass(frozen=True)
class Share:
    """This process among those of the run; ``wait`` returns when all have called it."""

    rank: int = 0
    world: int = 1
    wait: Callable[[], None] = lambda: None


def run(
    protocol: Protocol,
    samples: Sequence[Sample],
    model: EvalModel,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    batch_size: int = 1,
    swap: bool = False,
    share: Share | None = None,
    progress: Progress = no_progress,
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Ask the remaining questions, then write ``samples.jsonl`` and ``result.json``.

    Args:
        protocol: prompts and scores.
        samples: of the protocol, with unique ids.
        model: the model.
        folder: of the run; an interrupted run is resumed.
        settings: all that decides an answer; part of the result.
        batch_size: questions that are answered together; all about one clip.
        swap: give the generator another clip's frames.
        share: this process among several.
        progress: called after each batch of this process.

    Returns:
        The result and its scored samples, in the first process; None in the others.

    Raises:
        ConfigError: two samples have one id, or the folder holds another run.
        InputError: no question can be prepared.
        WriteError: the disk is full; finished answers are kept.
    """
    share = share or Share()
    _require_unique(samples)
    if share.rank == 0:
        journal = Journal(folder, settings, 0)
    share.wait()  # run.json exists before the others read it
    journal = Journal(folder, settings, share.rank)
    donors = donors_of(samples) if swap else {}
    known = journal.answers()
    share.wait()  # no process writes before all have read
    todo = [b for b in batches_of(samples, batch_size) if any(s.id not in known for s in b)]
    if share.rank == 0 and todo and journal.damaged:
        _warn_of_damage(journal)
    mine = _part(todo, share)
    faults = Faults(works=bool(known))
    for number, batch in enumerate(mine, 1):
        _record(journal, faults.settled(*ask(protocol, batch, model, donors)), known)
        progress(number, len(mine), False)
    _record(journal, faults.rest(), known)
    share.wait()
    if share.rank:
        return None
    result, rows = result_of(protocol, samples, journal.answers(), settings)
    write_result(folder, result, rows)
    return result, rows


def _record(journal: Journal, answers: Sequence[Mapping[str, Any]], known: Collection[str]) -> None:
    for answer in answers:
        if answer["key"] not in known:
            journal.add(answer)


def _part(batches: list[list[Sample]], share: Share) -> list[list[Sample]]:
    """The batches of this process: consecutive ones, so that few clips are decoded by two processes."""
    edges = [len(batches) * rank // share.world for rank in (share.rank, share.rank + 1)]
    return batches[edges[0] : edges[1]]


def batches_of(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Samples about one clip in batches of at most ``size``; clips in the order of their first sample."""
    by_clip: dict[Media, list[Sample]] = {}
    for sample in samples:
        by_clip.setdefault(sample.media, []).append(sample)
    return [clip[n : n + size] for clip in by_clip.values() for n in range(0, len(clip), size)]


def donors_of(samples: Sequence[Sample]) -> dict[Media, Media]:
    """For each clip the next one; no clip gives to itself.

    Raises:
        ConfigError: there is only one clip.
    """
    clips = list(dict.fromkeys(sample.media for sample in samples))
    if len(clips) < 2:
        raise ConfigError(
            "Invalid --swap-features: there is no other clip.",
            got=f"{len(clips)} clip",
            expected="two or more",
            fix="raise --limit",
        )
    return dict(zip(clips, [*clips[1:], clips[0]], strict=True))


def _warn_of_damage(journal: Journal) -> None:
    count, places = len(journal.damaged), ", ".join(journal.damaged[:5])
    warnings.warn(
        f"{count} line{'s' if count > 1 else ''} of {journal.folder / 'parts'} damaged: {places}"
        f"{', ...' if count > 5 else ''}. Their questions are asked again.",
        stacklevel=3,
    )


def _require_unique(samples: Sequence[Sample]) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise ConfigError(
                "Invalid ids: two questions have one id.",
                got=sample.id,
                expected="unique ids",
                fix="check the data",
            )
        seen.add(sample.id)
