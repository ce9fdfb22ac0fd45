"""Probes of stored features as accuracy on the same questions: a ridge and an MLP from features to an answer.

Both learn from three quarters of the training rooms. The better one on the remaining quarter is *the* probe
of an arm; its answers to the test questions are scores like any arm's. A ridge at 50 is no proof of absence.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.miniature.motion.rooms import Set
from train.pico import probe as pico

Array = NDArray[np.float32]
EPOCHS = 30


def probe(train: Set, test: Set, features: tuple[Array, Array], types: tuple[str, ...]) -> dict[str, Any]:
    """Scores of ridge, MLP and the chosen one on the test questions, in their order.

    Args:
        train, test: rooms.
        features: (N, 2, tokens, C) of both.
        types: of questions.
    """
    kept: dict[str, dict[tuple[int, int, str], float]] = {"ridge": {}, "mlp": {}}
    held_out: dict[str, list[float]] = {"ridge": [], "mlp": []}
    for kind in types:
        rows, answers = _rows(train, test, kind)
        x = np.stack([features[split][room, twin].ravel() for split, room, twin in rows]).astype(np.float32)
        rooms = np.array([room for _, room, _ in rows])
        from_train = np.array([split == 0 for split, _, _ in rows])
        learned = from_train & (rooms % 4 != 3)
        guesses = {
            "ridge": pico.ridge(x, answers[:, None], rooms, learned)[:, 0],
            "mlp": pico.mlp(x, answers[:, None], learned, epochs=EPOCHS)[:, 0]
            if learned.sum() >= 64
            else None,
        }
        for name, guess in guesses.items():
            right = np.zeros(len(rows)) if guess is None else (guess * answers > 0).astype(float)
            held_out[name] += right[from_train & ~learned].tolist()
            chosen = zip(rows, right.tolist(), strict=True)
            kept[name] |= {(room, twin, kind): hit for (split, room, twin), hit in chosen if split == 1}
    order = [
        (room, twin, kind)
        for room, words in enumerate(test.words)
        for twin in (0, 1)
        for kind in types
        if kind in words
    ]
    best = max(kept, key=lambda name: float(np.mean(held_out[name])) if held_out[name] else 0.0)
    return {"best": best} | {name: [found[key] for key in order] for name, found in kept.items()}


def _rows(train: Set, test: Set, kind: str) -> tuple[list[tuple[int, int, int]], Array]:
    """(0 train or 1 test, room, twin) of each question of a type, and its answer as 1 or -1."""
    rows, answers = [], []
    for split, rooms in enumerate((train, test)):
        for room, words in enumerate(rooms.words):
            if kind in words:
                _, *both = words[kind]
                rows += [(split, room, twin) for twin in (0, 1)]
                answers += [1.0 if word in ("left", "forward", "yes") else -1.0 for word in both]
    return rows, np.array(answers, np.float32)
