"""A run: every question asked once, every answer on disk as soon as it is known, and then the result.

Decision: batches are fixed by the samples alone (by clip, in the order of the benchmark). A batch that was
cut short is asked again as a whole. So an answer does not depend on where a run was killed or on how many
processes shared it: each takes a run of consecutive batches. Settings name what decides an answer; the
journal refuses to mix two runs. Under `accelerate launch` each process asks its share, and the first one
writes the result.

A clip or a text that cannot be used is an error of its question, which is recorded. So is an error of another
class while a question is prepared (decoded, rendered, cut into tokens): one odd row must not stop a run. Such
an error may also come from the setup and hit every question. Therefore these answers are held back until a
later question is answered; after `MOST_FAULTS` clips in a row without an answer the run ends, and none of
them is recorded. Everything else ends the run at once: no memory, a full disk, a missing package, a fault
while the model answers.
"""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vega3d._utils.progress import Progress, no_progress
from vega3d.errors import ConfigError, InputError, Vega3DError
from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.media import Media, written
from vega3d.evaluation.run.journal import Answer, Journal
from vega3d.evaluation.run.model import UNUSABLE, EvalModel, EvalRequest
from vega3d.evaluation.run.results import result_of, write_result

MOST_FAULTS = 10  # clips in a row
Donors = Mapping[Media, Media]
Asked = tuple[list[Answer], Exception | None]


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
    if repeated := [id for id, count in Counter(sample.id for sample in samples).items() if count > 1]:
        expected = "one question with an id"
        raise ConfigError("Invalid ids.", got=repeated, expected=expected, fix="correct the data")
    if share.rank == 0:
        Journal(folder, settings)
    share.wait()  # run.json exists before the others read it
    journal = Journal(folder, settings, share.rank)
    donors = donors_of(samples) if swap else {}
    known = journal.answers()
    share.wait()  # no process writes before all have read
    todo = [b for b in batches_of(samples, batch_size) if any(s.id not in known for s in b)]
    if share.rank == 0 and todo and journal.damaged:
        _warn_of_damage(journal)
    # consecutive batches, so that few clips are decoded by two processes
    first, end = (len(todo) * rank // share.world for rank in (share.rank, share.rank + 1))
    mine = todo[first:end]
    for number, answers in enumerate(_answers(protocol, mine, model, donors, bool(known)), 1):
        for answer in answers:
            if answer["key"] not in known:
                journal.add(answer)
        if number <= len(mine):
            progress(number, len(mine), False)
    share.wait()
    if share.rank:
        return None
    result, rows = result_of(protocol, samples, journal.answers(), settings)
    write_result(folder, result, rows)
    return result, rows


def batches_of(samples: Sequence[Sample], size: int) -> list[list[Sample]]:
    """Samples about one clip in batches of at most ``size``; clips in the order of their first sample."""
    by_clip: dict[Media, list[Sample]] = {}
    for sample in samples:
        by_clip.setdefault(sample.media, []).append(sample)
    return [clip[n : n + size] for clip in by_clip.values() for n in range(0, len(clip), size)]


def donors_of(samples: Sequence[Sample]) -> dict[Media, Media]:
    """For each clip one of the next scene; no clip gives to itself.

    The clips of a scene give in their order. Those of a single scene give to each other.

    Raises:
        ConfigError: there is only one clip.
    """
    clips = list(dict.fromkeys(sample.media for sample in samples))
    if len(clips) < 2:
        what = "Invalid --swap-features: there is no other clip."
        raise ConfigError(what, got=f"{len(clips)} clip", expected="two or more", fix="raise --limit")
    scenes: dict[str, list[Media]] = {}
    for clip, scene in {sample.media: sample.scene for sample in samples}.items():
        scenes.setdefault(scene, []).append(clip)
    groups = list(scenes.values())
    if len(groups) == 1:
        return dict(zip(clips, [*clips[1:], clips[0]], strict=True))
    following = [*groups[1:], groups[0]]
    return {
        clip: other[place % len(other)]
        for group, other in zip(groups, following, strict=True)
        for place, clip in enumerate(group)
    }


def _answers(
    protocol: Protocol, batches: Sequence[Sequence[Sample]], model: EvalModel, donors: Donors, works: bool
) -> Iterator[list[Answer]]:
    """The answers that can be recorded after each batch, and then the rest; ``works``: some were, before.

    Raises:
        InputError: questions about many clips in a row, or all of them, failed in an unexpected way.
    """
    held: list[Answer] = []
    last: Exception | None = None
    for batch in batches:
        answers, fault = _ask(protocol, batch, model, donors)
        answered = any(answer["output"] is not None for answer in answers)
        works |= answered or fault is None
        if fault is not None and not answered:
            held, last, answers = [*held, *answers], fault, []
            if _clips(held) >= MOST_FAULTS:
                raise _broken(held, fault)
        elif answered:
            held, answers = [], [*held, *answers]
        yield answers
    if last is not None and held and not works:
        raise _broken(held, last)
    yield held


def _clips(answers: Sequence[Answer]) -> int:
    return len({str(answer["media"]) for answer in answers})


def _broken(held: Sequence[Answer], last: Exception) -> InputError:
    frame = traceback.extract_tb(last.__traceback__)[-1]
    what = f"Cannot prepare questions about {_clips(held)} clips in a row; the run ends."
    got = f"{_text(last)} ({frame.filename}, line {frame.lineno})"
    fix = "mend the cause and give the same command again: these questions are not recorded"
    error = InputError(what, got=got, expected="model, processor and data that fit together", fix=fix)
    error.__cause__ = last
    return error


def _ask(protocol: Protocol, batch: Sequence[Sample], model: EvalModel, donors: Donors) -> Asked:
    """Answers to a batch, and an unexpected failure of one of its questions."""
    answers, ready, fault = [], [], None
    for sample in batch:
        donor = donors.get(sample.media)
        answer: Answer = {"key": sample.id, "media": written(sample.media), "donor": donor and written(donor)}
        answer |= dict.fromkeys(("prompt", "output", "error"))
        answers.append(answer)
        try:
            answer["prompt"] = protocol.prompt(sample.record)  # kept even if it cannot be prepared
            request = EvalRequest(answer["prompt"], sample.media, protocol.benchmark.system, donor)
            ready.append((answer, model.prepare(request)))
        except UNUSABLE as failure:
            answer["error"] = _text(failure)
        except (Vega3DError, MemoryError):
            raise
        except Exception as failure:
            answer["error"], fault = _text(failure), failure
    try:
        outputs = model.generate([prepared for _, prepared in ready]) if ready else []
        for (answer, prepared), output in zip(ready, outputs, strict=True):
            answer |= {"prompt": prepared.text, "output": output}
    except UNUSABLE as failure:
        for answer, _ in ready:
            answer["error"] = _text(failure)
    return answers, fault


def _text(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"


def _warn_of_damage(journal: Journal) -> None:
    count, places = len(journal.damaged), ", ".join(journal.damaged[:5])
    warnings.warn(
        f"{count} line{'s' if count > 1 else ''} of {journal.folder / 'parts'} damaged: {places}"
        f"{', ...' if count > 5 else ''}. Their questions are asked again.",
        stacklevel=3,
    )
