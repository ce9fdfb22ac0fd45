"""What a benchmark is on disk: questions with their media, and the facts that a run has to report.

Decision: a *task* scores and a *suite* asks; one suite serves every protocol of its benchmark. A suite reads
only what lies on this disk. It never downloads: the data have licences that a person has to accept.

This module knows no benchmark and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vega3d.errors import InputError
from vega3d.evaluation.suites.media import Media


@dataclass(frozen=True)
class Question:
    """One question about one clip.

    Attributes:
        id: unique in its suite.
        record: the row of the benchmark, with every field that its protocols read.
        media: a video, a folder of pictures or single pictures; they need not exist.
        scene: the room; questions that share it are not independent.
        kind: the type of question that results are listed by.
    """

    id: str
    record: Mapping[str, Any]
    media: Media
    scene: str
    kind: str


class Reader(Protocol):
    """Reads the questions of a folder.

    Records name files below the folder only. A link that leads out of it is refused, unless ``follow_links``.
    """

    def __call__(self, root: Path, *, follow_links: bool = False) -> list[Question]:
        """Questions in the order of the benchmark's own file."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A benchmark.

    Attributes:
        name: the first part of the names of its tasks.
        read: questions of a folder, in the order of the benchmark's own file.
        official: number of questions of the whole split; None where nobody has published it.
        value: the field of a scored sample, 0..1, that standard errors are taken of; or what makes it.
        frames: how many frames a model sees; evenly spaced, ends included, truncated to whole numbers.
        max_new_tokens: length of an answer.
        system: system prompt; empty leaves the host's own.
        layout: files that `read` looks for, in words.
        where: where a person gets them.
        licence: under which terms.
        merged: kinds that count as one in the macro mean, by the name of that one.
        truth: the field of a record that holds the true answer.
        label: the text of one picture in a message: ``{image}`` is the picture, ``{n}`` its number from 0.
        all_frames: the answer names frames by number, so that fewer than the record's cannot be sent.
        prompt: what is asked, where the protocol's own text is not for a model that writes; None is that.
        fields: what the protocol reads, made from an answer; None is its text as ``prediction``.
        by_sample: an answer is a word that is scored for itself, so that constant answers can be tried.
        chance: the expected score of a guess at one question; None where nobody can say.
    """

    name: str
    read: Reader
    official: int | None
    value: str | Callable[[Mapping[str, Any]], float | None]
    frames: int
    max_new_tokens: int
    system: str = ""
    layout: str
    where: str
    licence: str
    merged: Mapping[str, str] = field(default_factory=dict)
    truth: str = "ground_truth"
    label: str = "{image}"
    all_frames: bool = False
    prompt: Callable[[Mapping[str, Any]], str] | None = None
    fields: Callable[[Mapping[str, Any], str], dict[str, Any]] | None = None
    by_sample: bool = False
    chance: Callable[[dict[str, Any]], float | None] | None = None

    def score_of(self, scored: Mapping[str, Any]) -> float | None:
        """The number of a scored sample that means and errors are taken of."""
        value = self.value(scored) if callable(self.value) else scored.get(self.value)
        return float(value) if isinstance(value, int | float) else None

    def record_of(self, record: Mapping[str, Any], output: str) -> dict[str, Any]:
        """A record with what the protocol reads of an answer."""
        read = {"prediction": output} if self.fields is None else self.fields(record, output)
        return {**record, **read}


def first_of(root: Path, names: tuple[str, ...], suite: str) -> Path:
    """The first of the named files that exists.

    Raises:
        InputError: none does.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise InputError(
        f"{root} holds no questions of {suite}.",
        got=f"none of {', '.join(names)}",
        expected="one of these files",
        fix=f"`vega3d eval check {suite} --data {root}` says where they come from",
    )
