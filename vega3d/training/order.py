"""An order of rows in which all processes see the same kind of media in the same step; for ZeRO.

ZeRO reduces gradients in the order in which they arise, and stage 3 gathers weights when they are used. Where
one rank has a picture and another none, these orders differ, and the ranks wait for each other for ever, or
reduce what does not belong together (seen with DeepSpeed 0.19.8 at stages 2 and 3). DDP has fixed buckets and
needs none of this.

This module knows no model.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence

from torch.utils.data import Sampler

from vega3d.data import Row


class SameKinds(Sampler[int]):
    """Shuffled row numbers whose blocks are each of one kind.

    Args:
        kinds: of each row.
        block: rows that all processes take together in one micro-step.
        seed: with the epoch, decides the order.
    """

    def __init__(self, kinds: Sequence[Hashable], block: int, seed: int) -> None:
        self.kinds, self.block, self.seed, self.epoch = kinds, block, seed, 0
        counts = dict.fromkeys(kinds, 0)
        for kind in kinds:
            counts[kind] += 1
        self.length = sum(-(-count // block) * block for count in counts.values())

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        """Every row at least once; a block that is not full repeats rows of its kind."""
        draw = random.Random(f"{self.seed} {self.epoch}")
        rows: dict[Hashable, list[int]] = {}
        for row in draw.sample(range(len(self.kinds)), len(self.kinds)):
            rows.setdefault(self.kinds[row], []).append(row)
        blocks: list[list[int]] = []
        for own in rows.values():
            own += [draw.choice(own) for _ in range(-len(own) % self.block)]
            blocks += [own[at : at + self.block] for at in range(0, len(own), self.block)]
        draw.shuffle(blocks)
        return iter([row for block in blocks for row in block])


def kind_of(row: Row) -> tuple[bool, bool]:
    """Whether a row has pictures, and whether it has videos: which encoders of the host it calls."""
    return bool(row.images), bool(row.videos)
