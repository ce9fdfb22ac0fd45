"""Reversal twins: two clips whose sampled frame is the same picture, with opposite answers.

Decision: a twin is a clip of nine frames at 16 a second, and ``nframes=1`` samples the one in the middle.
Both twins have that frame to the pixel; the frames before it differ. A generator in mode ``window`` sees the
first five frames, of which the sampled one is the last. Both twins get the same question with the same
options and opposite answers. So text alone, the sampled frame alone, and any constant answer are right in
exactly half of the cases, by construction. `camera_twins.py` and `object_twins.py` make the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vega3d.geometry import Array
from vega3d.rooms.formats.writer import Row
from vega3d.rooms.questions import Question
from vega3d.rooms.renderer import Clip, render
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import ROOMS_VERSION, Room
from vega3d.rooms.video import write_mp4

FRAMES, MIDDLE, FPS = 9, 4, 16.0
"""Frames of a clip, the sampled one, and frames a second."""
DATASET = "twins"


@dataclass(frozen=True)
class TwinQuestion:
    """One question about both twins.

    Attributes:
        question_type: such as ``camera_turn``.
        question: text without options.
        options: two answers in words, in the order in which they are lettered.
        answers: the letter that is right for each twin; they differ.
    """

    question_type: str
    question: str
    options: tuple[str, str]
    answers: tuple[str, str]

    def word(self, twin: int) -> str:
        """The right answer for a twin in words."""
        return self.options["AB".index(self.answers[twin])]

    @classmethod
    def drawn(cls, rng: Rng, question_type: str, question: str, words: Sequence[str]) -> TwinQuestion:
        """A question whose options are in random order; ``words`` are the answers of the two twins."""
        options = rng.some(words)
        letters = ["AB"[options.index(word)] for word in words]
        return cls(question_type, question, (options[0], options[1]), (letters[0], letters[1]))


@dataclass(frozen=True)
class TwinPair:
    """Two clips with one picture.

    Attributes:
        seed: of the pair.
        kind: ``camera``, ``moved`` or ``way``.
        rooms: the room of each twin; they differ in what moves.
        poses: (9, 4, 4) camera-to-world of each twin.
        questions: about both twins.
    """

    seed: int
    kind: str
    rooms: tuple[Room, Room]
    poses: tuple[Array, Array]
    questions: tuple[TwinQuestion, ...]

    @property
    def scene(self) -> str:
        """Name of the pair: its twins are no independent scenes."""
        return f"{self.kind}_{self.seed:09d}"

    def name(self, twin: int) -> str:
        """Name of a twin's clip; it does not give away which twin it is."""
        flip = Rng(ROOMS_VERSION, self.seed, 70).whole(0, 2)
        return f"{self.scene}_{'ab'[(twin + flip) % 2]}"

    def film(self, twin: int, *, width: int = 128, height: int = 128) -> Clip:
        """The clip of a twin, 0 or 1; frame ``MIDDLE`` is the same in both."""
        poses = self.poses[twin]
        clip = render(self.rooms[twin], width=width, height=height, frames=FRAMES, fps=FPS, poses=poses)
        return replace(clip, tag=f"vega3d-twins/{ROOMS_VERSION}/{self.seed}")

    def save(self, twin: int, path: str | Path, *, width: int = 128, height: int = 128) -> Path:
        """Write a twin as mp4, each frame coded by itself at one quantiser, so that equal frames stay equal.

        Raises:
            InputError: height or width is odd.
        """
        clip = self.film(twin, width=width, height=height)
        write_mp4(path, clip.rgb, clip.fps, comment=clip.tag, intra=True)
        return Path(path)

    def rows(self, twin: int) -> list[Row]:
        """VSI-Bench's records of a twin, each with its ``pair``."""
        return [
            Question(
                0,
                DATASET,
                self.name(twin),
                asked.question_type,
                asked.question,
                lettered(asked.options),
                asked.answers[twin],
            ).to_record()
            | {"pair": self.scene}
            for asked in self.questions
        ]


def lettered(options: Sequence[str]) -> tuple[str, ...]:
    """Options as VSI-Bench writes them."""
    return tuple(f"{letter}. {option}" for letter, option in zip("AB", options, strict=True))
