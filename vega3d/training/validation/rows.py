"""Checks of rows on the same path that they take in training.

A row is opened, sampled, put through the host's processor, tokenized and looked up in the store by the
collator itself. So a row that passes here passes there, and lengths are exact. A row that fails is checked
again, medium by medium, so that every fault in it is named. This module does not depend on settings files.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, Literal

from torch.utils.data import DataLoader

from vega3d.data import Row
from vega3d.errors import InputError, MediaError, MediaNotFoundError, StoreError, Vega3DError
from vega3d.inputs.host_processor import check_aspect
from vega3d.inputs.source import plan_video
from vega3d.media.frame_plan import frame_plan
from vega3d.media.image import load_image
from vega3d.store.feature_store import CacheHit, CacheMiss
from vega3d.training.collator import IGNORED, Collator, nothing_to_train_on
from vega3d.training.metrics import patches_of
from vega3d.training.sampler import texts_of

Kind = Literal["setting", "annotation", "media", "length", "store", "model", "output", "memory"]


@dataclass
class Lengths:
    """Sizes of one row, or of all rows of a run.

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

    def add(self, other: Lengths) -> None:
        """Add up."""
        self.lengths += other.lengths
        self.seen = max(self.seen, other.seen, key=prod)
        for name in ("checked", "trained", "patches", "truncated", "stored", "lacking", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Checked:
    """Result of checking a row.

    Attributes:
        where: file and row.
        errors: its faults, each with its kind.
        sizes: of the row.
    """

    where: str
    errors: list[tuple[Kind, Vega3DError]] = field(default_factory=list)
    sizes: Lengths = field(default_factory=lambda: Lengths(checked=1))


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a frame rate that is assumed is assumed for all rows alike
            if self.collator is None:
                checked.errors += self._by_hand(row)
            elif error := _error_of(partial(self._whole, self.collator, row, checked)):
                checked.errors += self._by_hand(row) or [error]
        return checked

    def _whole(self, collator: Collator, row: Row, checked: Checked) -> None:
        batch, sizes = collator.whole([row]), checked.sizes
        length = int(batch["input_ids"].shape[1])
        sizes.lengths.append(length)
        sizes.trained = int((batch["labels"] != IGNORED).sum())
        sizes.patches = patches_of(batch)
        self._features(batch, checked)
        if _has_empty_answer(row):
            title = "Missing text in an answer of the assistant."
            expected = "text: without it the model is trained to end its turn at once"
            fix = "add the answer to the row, or leave the row out"
            empty = InputError(title, got="an empty answer", expected=expected, fix=fix)
            checked.errors.append(("annotation", empty))
        try:
            collator.cut(batch, [row])
        except InputError as error:
            checked.errors.append(("length", error))
        sizes.truncated = int(batch["input_ids"].shape[1] < length)

    def _features(self, batch: Mapping[str, Any], checked: Checked) -> None:
        clips, sizes = batch.get("generative_clips", ()), checked.sizes
        lacking = [clip.cached.source for clip in clips if isinstance(clip.cached, CacheMiss)]
        sizes.stored = sum(isinstance(clip.cached, CacheHit) for clip in clips)
        sizes.lacking = len(lacking)
        if self.only_stored and lacking:
            title = "Missing features in the store: store.only loads no generator."
            fix = "run vega3d cache build with the same media and sampling, or leave store.only out"
            missing = StoreError(title, got=", ".join(lacking), expected="all of them in the store", fix=fix)
            checked.errors.append(("store", missing))
        seen = [(len(clip.frames), *clip.size) for clip in clips if len(clip.frames)]
        sizes.seen = max(seen, key=prod, default=(0, 0, 0))

    def _by_hand(self, row: Row) -> list[tuple[Kind, Vega3DError]]:
        """Errors of every medium of a row that cannot be used, and of a missing answer."""
        checks = [partial(self._check_picture, image.source) for image in row.images]
        checks += [partial(self._check_video, video) for video in row.videos]
        errors = [error for check in checks if (error := _error_of(check))]
        if errors and not any(_answers(row)):
            missing = nothing_to_train_on("no answer of the assistant", "at least one")
            errors.append(("annotation", missing))
        return errors

    def _check_video(self, request: Any) -> None:
        clip = plan_video(request, partial(frame_plan, self.settings))
        self._check_aspect(*clip.size, clip.name)
        clip.decode()

    def _check_picture(self, source: Any) -> None:
        _, height, width = load_image(source).shape
        self._check_aspect(height, width, str(source)[:200])

    def _check_aspect(self, height: int, width: int, name: str) -> None:
        if self.collator is not None:
            check_aspect(self.collator.processor.family, width, height, name)


def _error_of(check: Callable[[], None]) -> tuple[Kind, Vega3DError] | None:
    try:
        check()
    except StoreError as error:
        return "store", error
    except (MediaError, MediaNotFoundError) as error:
        return "media", error
    except Vega3DError as error:
        return "annotation", error
    return None


def _answers(row: Row) -> list[Any]:
    return [message.get("content") for message in row.messages if message["role"] == "assistant"]


def _has_empty_answer(row: Row) -> bool:
    """True if there is an answer without text: the model would be trained to end its turn at once."""
    return any(not "".join(texts_of(answer)).strip() for answer in _answers(row))


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
    yield from DataLoader(rows, sampler=places, batch_size=None, collate_fn=check, num_workers=workers)  # type: ignore[arg-type]
