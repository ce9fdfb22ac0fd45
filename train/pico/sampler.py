"""Batches of the pico host's training: questions drawn from the cache by the clock.

Decision: a host that does not see cannot reason, so the run begins with pictures alone (the helper loss
teaches what stands where), goes on with short questions of looking, and asks ever more questions of measure
and place. Directions, which stay at chance, are asked rarely. Mirrored
clips double the rooms; a mirrored clip is asked nothing that knows left from right.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from train.pico.data import FRAMES_SEEN, GRID, Cache, Row
from train.pico.pack import BEFORE_ANSWER, Packed, Packer

ASKED: dict[str, tuple[float, float]] = {
    "exists": (4.0, 3.0), "colour": (4.0, 3.0), "count": (2.0, 2.0), "closer": (1.0, 2.0),
    "distance": (0.4, 0.8), "size": (0.6, 0.8), "side": (0.1, 0.3),
    "object_counting": (1.0, 1.5), "object_abs_distance": (0.3, 1.0), "object_size_estimation": (0.4, 1.0),
    "object_rel_distance": (0.2, 1.0), "object_rel_direction_easy": (0.1, 0.3),
    "object_rel_direction_medium": (0.05, 0.15), "object_rel_direction_hard": (0.05, 0.15),
}  # fmt: skip
"""How often a family is asked, at the beginning and at the end of the run (relative)."""

CENTIMETRES = ("object_size_estimation", "size")
METRES = ("object_abs_distance", "distance")
RATIO = 2**0.5
"""Measures are answered coarsely, after a wobble: sizes in tens, distances in powers of this.

A host that cannot tell answers with the likeliest number. In even steps of 0.5 m that is 1.0, which scores
20.5 on held-out rooms where the best constant has 31.8; in powers of the root of two it scores 29.4.
"""

ROOM = 360
"""Tokens of questions and answers a clip: nearly always one shape, for a compiler's sake."""

HANDED = ("side", "object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
"""Families whose answers a mirror would change."""


class Sampler:
    """Draws packed training batches from the cache."""

    def __init__(self, cache: Cache, packer: Packer, batch: int, questions: int, seed: list[int]) -> None:
        self.cache, self.packer, self.batch, self.questions = cache, packer, batch, questions
        self.rng = np.random.default_rng(seed)

    def draw(self, done: float) -> tuple[Packed, Tensor | None]:
        """A batch at this share of the run, and its helper targets; None for clips sent as images."""
        rng = self.rng
        chosen = rng.integers(len(self.cache.lines), size=self.batch)
        mirrored = rng.random(self.batch) < 0.5
        rows = [
            self.fitting(self.pick(self.cache.lines[i]["asked"], done, bool(m)))
            for i, m in zip(chosen, mirrored, strict=True)
        ]
        pixels, target = self.clips(chosen, mirrored)
        if done > 0.2 and rng.random() < 0.08:
            frames = np.sort(rng.permutation(FRAMES_SEEN)[:4])
            return self.packer.pack(pixels[:, frames], rows, kind="image"), None
        seconds = 1.5 if rng.random() < 0.8 else float(rng.choice([0.5, 1.0, 2.0]))
        return self.packer.pack(pixels, rows, seconds=seconds), target

    def clips(self, chosen: np.ndarray, mirrored: np.ndarray) -> tuple[Tensor, Tensor]:
        """Augmented pixels (B, T, H, W, 3) in 0..255 and helper targets (B, n, HELPERS)."""
        pixels, target = self.cache.pixels[chosen], self.cache.helpers[chosen].astype(np.float32)
        grid = target.reshape(len(target), -1, GRID, GRID, target.shape[-1])
        for i in np.flatnonzero(mirrored):
            pixels[i] = pixels[i][:, :, ::-1]
            grid[i] = grid[i][:, :, ::-1]
            grid[i, ..., -3] *= -1  # right
        return augment(torch.from_numpy(pixels).float(), self.rng), torch.from_numpy(target)

    def pick(self, rows: list[Row], done: float, mirrored: bool) -> list[tuple[str, str]]:
        """The list of the room (it says what is there in one answer) and questions by weight."""
        open_to = [q for q in rows if q[0] in ASKED and not (mirrored and q[0] in HANDED)]
        many = Counter(q[0] for q in open_to)
        weight = np.array([weight_of(q[0], done) / many[q[0]] for q in open_to])
        size = min(len(open_to), self.questions)
        drawn = self.rng.choice(len(open_to), size, replace=False, p=weight / weight.sum())
        chosen = [q for q in rows if q[0] == "list"] + [open_to[int(i)] for i in drawn]
        return [(prompt, self.coarse(kind, answer)) for kind, prompt, answer in chosen]

    def fitting(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """The first of these questions, as many as there is room for."""
        kept, used = [], 0
        for prompt, answer in pairs:
            used += len(self.packer.ids(prompt + BEFORE_ANSWER)) + len(self.packer.ids(answer))
            if used > ROOM:
                break
            kept.append((prompt, answer))
        return kept

    def coarse(self, kind: str, answer: str) -> str:
        """A measure as it is to be answered."""
        if kind in CENTIMETRES:
            return str(max(10, 10 * round(float(answer) * self.wobble(0.05) / 10)))
        if kind in METRES and float(answer) > 0:
            return f"{RATIO ** round(math.log(float(answer) * self.wobble(0.1), RATIO)):.1f}"
        return answer

    def wobble(self, width: float) -> float:
        """A factor around one."""
        return math.exp(width * float(self.rng.normal()))


def weight_of(kind: str, done: float) -> float:
    """How often a family is asked at this share of the run."""
    early, late = ASKED[kind]
    return early + (late - early) * done


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips (B, T, H, W, 3) in 0..255 with another exposure, tint and a little sensor noise."""
    b = len(pixels)
    gain = torch.from_numpy(
        rng.uniform(0.88, 1.12, (b, 1, 1, 1, 1)) * rng.uniform(0.96, 1.04, (b, 1, 1, 1, 3))
    )
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
    return (pixels * gain.float() + noise * float(rng.uniform(0, 4))).clamp(0, 255)


def texts_of(facts: dict[str, Any]) -> list[str]:
    """All that a scene says, for the tokenizer: answers also as they follow a space."""
    return [text for _, prompt, answer in facts["asked"] for text in (prompt, answer, " " + answer)]
