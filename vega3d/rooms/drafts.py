"""What the makers of questions hand over: a question before it has a row and letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vega3d.rooms.dice import Dice
from vega3d.rooms.scene import Room
from vega3d.rooms.seen import Seen


@dataclass(frozen=True)
class Draft:
    """The right option is the first of ``options``; numeric questions have none, but an ``answer``."""

    question_type: str
    question: str
    answer: str = ""
    options: tuple[str, ...] = ()


Maker = Callable[[Dice, Room, Seen, int], list[Draft]]
"""(dice, room, what was seen of it, most drafts) -> drafts."""
