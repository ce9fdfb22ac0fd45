"""One batch put to a model, and which failures belong to a question and which end the run.

Decision: a clip or a text that cannot be used is an error of its question, which is recorded. So is an error
of another class while a question is prepared (decoded, rendered, cut into tokens): one odd row must not stop
a run. Such an error may also come from the setup and hit every question. Therefore these samples are
held back until a later question is answered; after `MOST_FAULTS` clips in a row without an answer the run
ends, and none of them is recorded. Everything else ends the run at once: no memory, a full disk, a missing
package, a fault while the model answers.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vega3d.errors import InputError, MediaError, MediaNotFoundError, Vega3DError
from vega3d.evaluation.running.answerer import Answerer, Asked
from vega3d.evaluation.suites import Question, Suite
from vega3d.evaluation.suites.media import Media, written
from vega3d.evaluation.task import Task

Sample = dict[str, Any]
FAILURES = (MediaError, MediaNotFoundError, InputError)
MOST_FAULTS = 10  # clips in a row


@dataclass
class Faults:
    """Samples of questions that failed in an unexpected way, held back until the run is seen to work.

    Attributes:
        works: some question has an answer, or an error of an expected class.
        samples: held back.
        clips: that they are about.
        last: the last failure.
    """

    works: bool = False
    samples: list[Sample] = field(default_factory=list)
    clips: set[str] = field(default_factory=set)
    last: Exception | None = None

    def settled(self, samples: Sequence[Sample], fault: Exception | None) -> list[Sample]:
        """Samples that can be recorded now.

        Args:
            samples: of the batch.
            fault: unexpected failure of one of its questions, if there was one.

        Raises:
            InputError: questions about many clips in a row failed in an unexpected way.
        """
        answered = any(sample["output"] is not None for sample in samples)
        self.works |= answered or fault is None
        if fault is None and not answered:
            return list(samples)
        self.samples += samples
        if answered:
            return self._released()
        self.last = fault
        self.clips.add(str(samples[0]["media"]))
        if len(self.clips) >= MOST_FAULTS:
            raise self._error()
        return []

    def rest(self) -> list[Sample]:
        """Samples that are held back when all batches are asked.

        Raises:
            InputError: every question failed in an unexpected way.
        """
        if self.samples and not self.works:
            raise self._error()
        return self._released()

    def _released(self) -> list[Sample]:
        samples, self.samples, self.clips = self.samples, [], set()
        return samples

    def _error(self) -> InputError:
        assert self.last is not None
        frame = traceback.extract_tb(self.last.__traceback__)[-1]
        error = InputError(
            f"Questions about {len(self.clips)} clips in a row cannot be prepared; the run ends.",
            got=f"{_text(self.last)} ({frame.filename}, line {frame.lineno})",
            expected="a model, a processor and data that fit together",
            fix="mend the cause and give the same command again: these questions are not recorded",
        )
        error.__cause__ = self.last
        return error


def ask(
    task: Task, suite: Suite, batch: Sequence[Question], answerer: Answerer, donors: Mapping[Media, Media]
) -> tuple[list[Sample], Exception | None]:
    """Samples of a batch, and an unexpected failure of one of its questions.

    Args:
        task: the protocol.
        suite: whose questions they are.
        batch: questions about one clip.
        answerer: the model.
        donors: for each clip the one that gives its features; empty if each has its own.
    """
    samples, ready, fault = [], [], None
    for question in batch:
        sample, asked, failure = _prepared(task, suite, question, answerer, donors)
        samples.append(sample)
        fault = failure or fault
        if asked is not None:
            ready.append((sample, asked))
    try:
        outputs = answerer.answer([asked for _, asked in ready]) if ready else []
        for (sample, _), output in zip(ready, outputs, strict=True):
            sample["output"] = output
    except FAILURES as failure:
        for sample, asked in ready:
            sample |= {"prompt": asked.prompt, "error": _text(failure)}
    return samples, fault


def _prepared(
    task: Task, suite: Suite, question: Question, answerer: Answerer, donors: Mapping[Media, Media]
) -> tuple[Sample, Asked | None, Exception | None]:
    """A sample without an answer, and the question; without the question where it cannot be asked."""
    donor = donors.get(question.media)
    sample: Sample = {
        "key": question.id,
        "media": written(question.media),
        "donor": written(donor) if donor else None,
        "prompt": None,
        "output": None,
        "error": None,
    }
    prompt = suite.prompt or task.prompt
    assert prompt is not None
    try:
        sample["prompt"] = prompt(question.record)
        asked = Asked(sample["prompt"], question.media, suite.system, donor)
        answerer.check(asked)
        sample["prompt"] = answerer.prompt(asked)
    except FAILURES as failure:
        return {**sample, "error": _text(failure)}, None, None
    except (Vega3DError, MemoryError):
        raise
    except Exception as failure:
        return {**sample, "error": _text(failure)}, None, failure
    return sample, asked, None


def _text(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"
