"""The order of rows: seeded, in blocks that all processes take together in one micro-step.

ZeRO reduces gradients in the order in which they arise, and stage 3 gathers weights when they are used. Where
one rank has a picture and another none, these orders differ, and the ranks wait for each other for ever, or
reduce what does not belong together (seen with DeepSpeed 0.19.8 at stages 2 and 3). DDP has fixed buckets and
needs none of this. So under ZeRO each block is of one kind of media.

Rows of about the same length in one block waste less on padding, and no rank waits for the one with the
longest row. Lengths are guessed from text and number of media: nothing is opened to put rows in order.

Groups are whole: `TogetherSampler` never splits rows that belong together, such as twins with one picture and
opposite answers, over two batches.

This module does not depend on models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import Sampler

from vega3d.data import Row
from vega3d.errors import ConfigError

NEIGHBOURS = 50  # blocks within which rows are sorted by length; more sorts better and shuffles less
PICTURE, FRAME = 256, 128  # tokens that a medium is taken for; videos merge two frames into one step
WORD = 4  # letters of a token


class GroupedSampler(Sampler[int]):
    """Shuffled row numbers whose blocks are each of one kind, and of about one length.

    Args:
        kinds: of each row.
        block: rows that all processes take together in one micro-step.
        seed: with the epoch, decides the order.
        lengths: guessed, of each row; None leaves them shuffled.
        fill: a block that is not full repeats rows of its kind; False leaves it short, which only the last
            of all may be.
    """

    def __init__(
        self,
        kinds: Sequence[Hashable],
        block: int,
        seed: int,
        lengths: Sequence[float] | None = None,
        *,
        fill: bool = True,
    ) -> None:
        self.kinds, self.block, self.seed, self.epoch = kinds, block, seed, 0
        self.lengths, self.fill = lengths, fill
        whole = sum(-(-count // block) * block for count in Counter(kinds).values())
        self.length = whole if fill else len(kinds)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        """Every row at least once."""
        draw = random.Random(f"{self.seed} {self.epoch}")
        rows: dict[Hashable, list[int]] = {}
        for row in draw.sample(range(len(self.kinds)), len(self.kinds)):
            rows.setdefault(self.kinds[row], []).append(row)
        blocks: list[list[int]] = []
        for group in rows.values():
            if self.fill:
                group += [draw.choice(group) for _ in range(-len(group) % self.block)]
            ordered = self._sorted(group)
            blocks += [ordered[at : at + self.block] for at in range(0, len(ordered), self.block)]
        draw.shuffle(blocks)
        blocks.sort(key=lambda block: len(block) < self.block)  # a short one last
        return iter([row for block in blocks for row in block])

    def _sorted(self, rows: list[int]) -> list[int]:
        """Neighbours by their length, the longest first."""
        if self.lengths is None:
            return rows
        lengths, wide = self.lengths, self.block * NEIGHBOURS
        parts = [rows[at : at + wide] for at in range(0, len(rows), wide)]
        return [row for part in parts for row in sorted(part, key=lambda one: -lengths[one])]


class TogetherSampler(Sampler[int]):
    """Shuffled row numbers whose batches hold whole groups.

    Sizes of groups decide how batches are filled, so that each epoch has the same number of batches. A batch
    that no group fits into any more repeats rows of its own; the shortest one stays short and comes last.

    Args:
        groups: of each row; None is a group of its own.
        batch: rows of a batch of one process.
        seed: with the epoch, decides the order.

    Raises:
        ConfigError: a group is larger than a batch.
    """

    def __init__(self, groups: Sequence[Hashable | None], batch: int, seed: int) -> None:
        self.groups, self.batch, self.seed, self.epoch = rows_by_group(groups, batch), batch, seed, 0
        self.patterns = _patterns(Counter(map(len, self.groups)), batch)

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        shortest = min(map(sum, self.patterns), default=0)
        return max(0, len(self.patterns) - 1) * self.batch + shortest

    def __iter__(self) -> Iterator[int]:
        """Every row at least once."""
        draw = random.Random(f"{self.seed} {self.epoch}")
        by_size: dict[int, list[list[int]]] = {}
        for group in draw.sample(self.groups, len(self.groups)):
            by_size.setdefault(len(group), []).append(group)
        batches = [[row for size in pattern for row in by_size[size].pop()] for pattern in self.patterns]
        draw.shuffle(batches)
        shortest = min(range(len(batches)), key=lambda number: len(batches[number]), default=0)
        batches = [*batches[:shortest], *batches[shortest + 1 :], *batches[shortest : shortest + 1]]
        for batch in batches[:-1]:
            batch += [draw.choice(batch) for _ in range(self.batch - len(batch))]
        return iter([row for batch in batches for row in batch])


def rows_by_group(groups: Sequence[Hashable | None], batch: int) -> list[list[int]]:
    """Numbers of the rows of each group, in the order of first appearance.

    Raises:
        ConfigError: a group is larger than a batch.
    """
    rows: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        rows.setdefault((number, None) if group is None else (group,), []).append(number)
    largest = max(rows.values(), key=len, default=[])
    if len(largest) > batch:
        title = f"Invalid group_by: a group of {len(largest)} rows does not fit into a batch."
        got = f"group {groups[largest[0]]!r} and per_device_train_batch_size={batch}"
        fix = f"trainer.per_device_train_batch_size={len(largest)}, or group by another key"
        raise ConfigError(title, got=got, expected=f"batches of {len(largest)} or more", fix=fix)
    return list(rows.values())


def _patterns(counts: Counter[int], batch: int) -> list[list[int]]:
    """Sizes of the groups in each batch: always the largest one that still fits."""
    left, patterns = +counts, []
    while left:
        pattern: list[int] = []
        for size in sorted(left, reverse=True):
            count = min(left[size], (batch - sum(pattern)) // size)
            pattern += [size] * count
            left[size] -= count
        left = +left
        patterns.append(pattern)
    return patterns


def length_of(row: Row) -> float:
    """A guess of a row's tokens, from its text and the number of its pictures and frames."""
    letters = sum(len(text) for message in row.messages for text in texts_of(message.get("content")))
    frames = sum(_frames(request.source, request.sampling) for request in row.videos)
    return letters / WORD + PICTURE * len(row.images) + FRAME * frames


def texts_of(content: Any) -> list[str]:
    """All texts of a message's content."""
    if isinstance(content, str):
        return [content]
    entries = content if isinstance(content, list) else []
    return [str(one["text"]) for one in entries if isinstance(one, Mapping) and one.get("text")]


def _frames(source: Any, sampling: Mapping[str, Any]) -> int:
    if isinstance(source, (list, tuple)):
        return len(source)
    return int(sampling.get("nframes") or sampling.get("max_frames") or 16)
