"""One batch put to a model; which failures belong to a question and which end the run.

Decision: a clip or a text that cannot be used is an error of its question, which is recorded. So is an error
of another class while a question is prepared (decoded, rendered, cut into tokens): one odd row must not stop
a run. Such an error may also come from the setup and hit every question. Therefore these answers are
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
from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.media import Media, written
from vega3d.evaluation.run.model import EvalModel, EvalRequest, PreparedRequest

Answer = dict[str, Any]
FAILURES = (MediaError, MediaNotFoundError, InputError)
MOST_FAULTS = 10  # clips in a row


@dataclass
class Faults:
    """Answers of questions that failed in an unexpected way, held back until the run is seen to work.

    Attributes:
        works: some question has an answer, or an error of an expected class.
        answers: held back.
        clips: media of these answers.
        last: the last failure.
    """

    works: bool = False
    answers: list[Answer] = field(default_factory=list)
    clips: set[str] = field(default_factory=set)
    last: Exception | None = None

    def settled(self, answers: Sequence[Answer], fault: Exception | None) -> list[Answer]:
        """Answers that can be recorded now.

        Args:
            answers: of the batch.
            fault: unexpected failure of one of its questions, if there was one.

        Raises:
            InputError: questions about many clips in a row failed in an unexpected way.
        """
        answered = any(answer["output"] is not None for answer in answers)
        self.works |= answered or fault is None
        if fault is None and not answered:
            return list(answers)
        self.answers += answers
        if answered:
            return self._released()
        self.last = fault
        self.clips.add(str(answers[0]["media"]))
        if len(self.clips) >= MOST_FAULTS:
            raise self._error()
        return []

    def rest(self) -> list[Answer]:
        """Answers that are held back when all batches are asked.

        Raises:
            InputError: every question failed in an unexpected way.
        """
        if self.answers and not self.works:
            raise self._error()
        return self._released()

    def _released(self) -> list[Answer]:
        answers, self.answers, self.clips = self.answers, [], set()
        return answers

    def _error(self) -> InputError:
        assert self.last is not None
        frame = traceback.extract_tb(self.last.__traceback__)[-1]
        error = InputError(
            f"Cannot prepare questions about {len(self.clips)} clips in a row; the run ends.",
            got=f"{_text(self.last)} ({frame.filename}, line {frame.lineno})",
            expected="a model, a processor and data that fit together",
            fix="mend the cause and give the same command again: these questions are not recorded",
        )
        error.__cause__ = self.last
        return error


def ask(
    protocol: Protocol, batch: Sequence[Sample], model: EvalModel, donors: Mapping[Media, Media]
) -> tuple[list[Answer], Exception | None]:
    """Answers to a batch, and an unexpected failure of one of its questions.

    Args:
        protocol: renders the prompts.
        batch: samples about one clip.
        model: the model.
        donors: for each clip the one that gives its features; empty if each has its own.
    """
    answers, ready, fault = [], [], None
    for sample in batch:
        answer = _unanswered(sample, donors.get(sample.media))
        answers.append(answer)
        try:
            prepared = _prepared(protocol, sample, answer, model, donors)
            ready.append((answer, prepared))
        except FAILURES as failure:
            answer["error"] = _text(failure)
        except (Vega3DError, MemoryError):
            raise
        except Exception as failure:
            answer["error"], fault = _text(failure), failure
    try:
        outputs = model.generate([prepared for _, prepared in ready]) if ready else []
        for (answer, prepared), output in zip(ready, outputs, strict=True):
            answer |= {"prompt": prepared.text, "output": output}
    except FAILURES as failure:
        for answer, _ in ready:
            answer["error"] = _text(failure)
    return answers, fault


def _unanswered(sample: Sample, donor: Media | None) -> Answer:
    return {
        "key": sample.id,
        "media": written(sample.media),
        "donor": written(donor) if donor else None,
        "prompt": None,
        "output": None,
        "error": None,
    }


def _prepared(
    protocol: Protocol, sample: Sample, answer: Answer, model: EvalModel, donors: Mapping[Media, Media]
) -> PreparedRequest:
    """The prepared question; its plain text is in the answer even if it cannot be prepared."""
    answer["prompt"] = protocol.prompt(sample.record)
    system, donor = protocol.benchmark.system, donors.get(sample.media)
    return model.prepare(EvalRequest(answer["prompt"], sample.media, system, donor))


def _text(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}"
