"""Single flipped bits in what is on disk: each is detected, or changes nothing. None may be silent.

``python -m tests.reliability.flips --count 100 --place weights`` flips 100 bits, one at a time, in a copy of
intact files, and gives the copy to the command that reads them:

- ``store``: all features are read; a flip is silent if one of them is another number.
- ``checkpoint``: the trained model is loaded; silent if a tensor or a setting is another one.
- ``resume``: the run goes on from its last checkpoint; silent if the trained weights are others.
- ``journal``: the evaluation goes on; silent if result, samples or reports are others.
- ``result``: two evaluations are compared; silent if the page says something else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.reliability.commands import Command, Results, features, prepared
from tests.reliability.processes import finished, warmed
from tests.reliability.tables import Row, command

COUNTS = {"store": 150, "checkpoint": 120, "resume": 80, "journal": 110, "result": 40}
Judge = Callable[[Path], str]
"""What became of a folder with one flipped bit: detected, harmless or silent, or ``untyped`` and why."""


def rows(folder: Path, counts: Mapping[str, int], seed: int, failures: list[str]) -> Iterator[Row]:
    """One row for each kind of file."""
    commands = prepared(folder)
    for place, count in counts.items():
        (folder / place).mkdir()
        yield from PLACES[place](commands, folder / place, count, random.Random(f"{seed} {place}"), failures)


def store(
    commands: Mapping[str, Command], folder: Path, count: int, dice: random.Random, failures: list[str]
) -> Iterator[Row]:
    """Shards and the store's description."""
    warmed(commands["build"].line, folder)
    expected = features(folder / "whole")

    def judge(out: Path) -> str:
        code, output = finished(["cache", "verify", str(out), "--no-media"])
        if code != 0:
            return detected(output)
        found = in_a_child(out)
        return "harmless" if found == expected else "silent"

    def in_a_child(out: Path) -> Results:
        """Headers are kept in memory by name, so another process reads each copy."""
        file, pid = folder / "found.json", os.fork()
        if pid == 0:
            try:
                file.write_text(json.dumps(features(out)), encoding="utf-8")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return dict(json.loads(file.read_text(encoding="utf-8")))

    for pattern in ("*.safetensors", "store.json"):
        share = count - count // 4 if pattern != "store.json" else count // 4
        yield flipped(f"store: {pattern}", folder / "whole", pattern, judge, share, dice, failures)
