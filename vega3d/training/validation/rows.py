"""Checks of rows on the same path that they take in training.

A row is opened, sampled, put through the host's processor, tokenized and looked up in the store by the
collator itself. So a row that passes here passes there, and lengths are exact. A row that fails is checked
again, medium by medium, so that every fault in it is named. This module does not depend on settings files.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vega3d.data import Row
from vega3d.errors import InputError, MediaError, MediaNotFoundError, StoreError, Vega3DError
from vega3d.inputs.host_processor import check_aspect
from vega3d.inputs.source import plan_video
from vega3d.media.frame_plan import frame_plan
from vega3d.media.image import load_image
from vega3d.store.lookup import CacheHit, CacheMiss
from vega3d.training.collator import Collator
from vega3d.training.labels import IGNORED
from vega3d.training.sampler import texts_of
from vega3d.training.validation.findings import Kind


@dataclass
class Checked:
    """Result of checking a row.

    Attributes:
        where: file and row.
        errors: its faults, each with its kind.
        length: tokens, if it could be put together.
        trained: of them, those that are trained on.
        patches: of the host's vision tower.
        truncated: True if its text would be cut.
        stored: clips whose features are in the store.
        lacking: names of those whose features are not.
        seen: frames, height and width of the largest clip that the generator would encode.
    """

    where: str
    errors: list[tuple[Kind, Vega3DError]] = field(default_factory=list)
    length: int | None = None
    trained: int = 0
    patches: int = 0
    truncated: bool = False
    stored: int = 0
    lacking: list[str] = field(default_factory=list)
    seen: tuple[int, int, int] = (0, 0, 0)


class RowCheck:
    """Checks rows one at a time; it can be sent to a worker.

    Args:
        collator: None if no processor could be loaded; then only media and answers are checked.
        settings: of the generator, whose mode decides which frames are read.
        only_stored: a feature that is not stored is a problem.
    """

    def __init__(self, collator: Collator | None, settings: Any, *, only_stored: bool = False) -> None:
        self.collator, self.settings, self.only_stored = collator, settings, only_stored

    def __call__(self, row: Row) -> Checked:
        """Check a row."""
        checked = Checked(row.where)
        try:
            if self.collator is None:
                checked.errors += self._by_hand(row)
            else:
                self._whole(self.collator, row, checked)
        except Vega3DError as error:
            checked.errors += self._by_hand(row) or [(_kind_of(error), error)]
        return checked

    def _whole(self, collator: Collator, row: Row, checked: Checked) -> None:
        batch = collator.whole([row])
        checked.length = int(batch["input_ids"].shape[1])
        checked.trained = int((batch["labels"] != IGNORED).sum())
        pixels = (batch.get("pixel_values"), batch.get("pixel_values_videos"))
        checked.patches = sum(len(values) for values in pixels if isinstance(values, Tensor))
        self._features(batch, checked)
        if _has_empty_answer(row):
            checked.errors.append(("annotation", _empty_answer()))
        try:
            collator.cut(batch, [row])
        except InputError as error:
            checked.errors.append(("length", error))
        checked.truncated = int(batch["input_ids"].shape[1]) < checked.length

    def _features(self, batch: Mapping[str, Any], checked: Checked) -> None:
        clips = batch.get("generative_clips", ())
        checked.stored = sum(isinstance(clip.cached, CacheHit) for clip in clips)
        checked.lacking = [clip.cached.source for clip in clips if isinstance(clip.cached, CacheMiss)]
        if self.only_stored and checked.lacking:
            checked.errors.append(("store", _not_stored(checked.lacking)))
        sizes = [(len(clip.frames), *clip.size) for clip in clips if len(clip.frames)]
        checked.seen = max(sizes, key=lambda size: size[0] * size[1] * size[2], default=(0, 0, 0))

    def _by_hand(self, row: Row) -> list[tuple[Kind, Vega3DError]]:
        """Errors of every medium of a row that cannot be used, and of a missing answer."""
        errors: list[tuple[Kind, Vega3DError]] = []
        for image in row.images:
            errors += _tried(lambda image=image: _check_picture(image.source))
        for video in row.videos:
            errors += _tried(lambda video=video: self._check_video(video))
        if errors and not _has_answer(row):
            errors.append(("annotation", _no_answer()))
        return errors

    def _check_video(self, request: Any) -> None:
        clip = plan_video(request, lambda host: frame_plan(self.settings, host))
        check_aspect(clip.size[1], clip.size[0], clip.name)
        clip.decode()


def _check_picture(source: Any) -> None:
    picture = load_image(source)
    check_aspect(picture.shape[2], picture.shape[1], str(source)[:200])


def _tried(check: Any) -> list[tuple[Kind, Vega3DError]]:
    try:
        check()
        return []
    except Vega3DError as error:
        return [(_kind_of(error), error)]


def _kind_of(error: Vega3DError) -> Kind:
    if isinstance(error, StoreError):
        return "store"
    return "media" if isinstance(error, (MediaError, MediaNotFoundError)) else "annotation"


def _has_answer(row: Row) -> bool:
    return any(message["role"] == "assistant" and message.get("content") for message in row.messages)


def _has_empty_answer(row: Row) -> bool:
    """True if there is an answer without text: the model would be trained to end its turn at once."""
    answers = [message.get("content") for message in row.messages if message["role"] == "assistant"]
    return any(not "".join(texts_of(answer)).strip() for answer in answers)


class _Rows(Dataset[Checked]):
    def __init__(self, rows: Sequence[Row], places: Sequence[int], check: RowCheck) -> None:
        self.rows, self.places, self.check = rows, places, check

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Checked:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a frame rate that is assumed is assumed for all rows alike
            return self.check(self.rows[self.places[index]])


def check_rows(
    rows: Sequence[Row], check: RowCheck, *, limit: int | None = None, workers: int = 0, seed: int = 0
) -> Iterator[Checked]:
    """Check rows in worker processes.

    Args:
        rows: to check.
        check: called with each of them.
        limit: number of rows, drawn with ``seed``; None checks all.
        workers: processes beside this one.
        seed: of the choice.
    """
    places: Sequence[int] = range(len(rows))
    if limit is not None and limit < len(rows):
        places = sorted(random.Random(seed).sample(places, limit))
    yield from DataLoader(_Rows(rows, places, check), batch_size=None, num_workers=workers)


@dataclass
class Lengths:
    """Sizes of all rows of a run.

    Attributes:
        checked: number of rows that were checked.
        lengths: tokens of each that could be put together.
        trained: tokens that are trained on.
        patches: of the host's vision tower.
        truncated: rows whose text would be cut.
        stored: clips whose features are in the store.
        lacking: clips whose features are not.
        seen: frames, height and width of the largest clip that the generator would encode.
        seconds: that it took, over all workers.
    """

    checked: int = 0
    lengths: list[int] = field(default_factory=list)
    trained: int = 0
    patches: int = 0
    truncated: int = 0
    stored: int = 0
    lacking: int = 0
    seen: tuple[int, int, int] = (0, 0, 0)
    seconds: float = 0.0

    def add(self, row: Checked) -> None:
        """Count a row."""
        self.checked += 1
        if row.length is not None:
            self.lengths.append(row.length)
        self.trained += row.trained
        self.patches += row.patches
        self.truncated += row.truncated
        self.stored += row.stored
        self.lacking += len(row.lacking)
        self.seen = max(self.seen, row.seen, key=lambda size: size[0] * size[1] * size[2])

    def of(self, checked: Iterable[Checked], workers: int) -> Iterator[Checked]:
        """Count rows as they come."""
        start = time.perf_counter()
        for row in checked:
            self.add(row)
            yield row
        self.seconds += (time.perf_counter() - start) * max(workers, 1)


def _no_answer() -> InputError:
    return InputError(
        "Invalid conversation: nothing to train on.",
        got="no answer of the assistant",
        expected="at least one",
        fix="add the answer to the row, or leave the row out",
    )


def _empty_answer() -> InputError:
    return InputError(
        "Missing text in an answer of the assistant.",
        got="an empty answer",
        expected="text: without it the model is trained to end its turn at once",
        fix="add the answer to the row, or leave the row out",
    )


def _not_stored(sources: Sequence[str]) -> StoreError:
    return StoreError(
        "Missing features in the store: store.only loads no generator.",
        got=", ".join(sources),
        expected="all of them in the store",
        fix="run vega3d cache build with the same media and sampling, or leave store.only out",
    )
