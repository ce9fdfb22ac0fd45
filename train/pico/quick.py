"""Figures of a run on the way: the fast packed path on cached rooms, beside the blind baselines.

    python -m train.pico.quick --run RUN --cache CACHE

Decision: this decides whether a run is worth a card; the card itself is measured on the path of a user
(eval.py). The same figures on rooms of the training cache tell whether it learned them by heart.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.pico.ask import Said, load
from train.pico.card import table
from train.pico.data import Cache
from train.pico.eval import Baselines, measure, overall, write_host
from train.pico.pack import Packer, greedy
from train.pico.run import mixed
from vega3d.rooms.held_out import family_is_held_out

TOGETHER = 4  # clips a batch


@torch.no_grad()
def answers(model: Any, packer: Packer, cache: Cache, first: int, end: int) -> list[Said]:
    """Answers of the model about the cached rooms ``first`` to ``end``, lists left out."""
    said: list[Said] = []
    for start in range(first, end, TOGETHER):
        chosen = range(start, min(end, start + TOGETHER))
        rows = [
            [q for q in cache.lines[i]["asked"] if q[0] != "list" and not family_is_held_out(q[0])]
            for i in chosen
        ]
        pixels = torch.from_numpy(np.stack([cache.pixels[i] for i in chosen])).float()
        with mixed():
            texts = greedy(model, packer, pixels, [[q[1] for q in row] for row in rows], longest=4)
        for i, row, replies in zip(chosen, rows, texts, strict=True):
            said += [(i, q[0], q[1], q[2], text.strip()) for q, text in zip(row, replies, strict=True)]
    return said


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--capacity", type=int, default=6000)
    parser.add_argument("--val", type=int, default=60)
    parser.add_argument("--scenes", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    train, val = Cache(args.cache, "train", args.capacity), Cache(args.cache, "val", args.val)
    train.refresh(), val.refresh()
    with tempfile.TemporaryDirectory() as scratch:
        write_host(args.run, Path(scratch))
        model, processor = load(Path(scratch))
    packer = Packer(model, processor)
    rows = [tuple(q) for facts in train.lines[200:1700] for q in facts["asked"]]
    baselines = Baselines(rows)
    for name, cache in (("rooms never seen", val), ("rooms of the training cache", train)):
        types = measure(answers(model, packer, cache, 0, min(args.scenes, len(cache.lines))), baselines)
        print(f"{name}\n{table(types)}\n{json.dumps(overall(types))}", flush=True)


if __name__ == "__main__":
    main()
