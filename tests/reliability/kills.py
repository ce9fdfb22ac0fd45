"""SIGKILL at random moments: the same command again ends in what an uninterrupted run ends in.

``python -m tests.reliability.kills --count 25 --command train`` prints one row for each command. A moment is
drawn evenly from the time that an uninterrupted run takes. A run that ends before its kill is compared and
the next one begins anew.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.reliability.commands import Command, parts, prepared
from tests.reliability.processes import Process, finished, last, warmed
from tests.reliability.tables import Row, command

COUNTS = {"build": 25, "train": 25, "eval": 25, "rooms": 25}


def rows(folder: Path, counts: Mapping[str, int], seed: int, failures: list[str]) -> Iterator[Row]:
    """One row for each command: so many kills, and what became of the runs."""
    commands = prepared(folder)
    for name, count in counts.items():
        yield killed(commands[name], folder / name, count, random.Random(f"{seed} {name}"), failures)


def killed(one: Command, folder: Path, count: int, dice: random.Random, failures: list[str]) -> Row:
    """Kill a command ``count`` times, and compare each run that came to its end."""
    folder.mkdir()
    seconds = warmed(one.line, folder)
    expected = one.results(folder / "whole")
    kills = runs = differing = orphans = most_parts = 0
    while kills < count:
        out = folder / f"run{runs}"
        while kills < count:
            process = Process(one.into(out))
            ended = process.wait(seconds * dice.uniform(0.02, 1.0)) is not None
            kills += not ended and process.kill()
            orphans += process.orphans()
            process.close()
            if ended:
                break
        most_parts = max(most_parts, parts(out) if out.exists() else 0)
        code, output = finished(one.into(out))
        runs += 1
        found = one.results(out) if code == 0 else {}
        if code != 0 or found != expected:
            differing += 1
            wrong = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
            failures.append(f"{one.name}, run {runs}: code {code}, differing {wrong[:5]}, {last(output)}")
        shutil.rmtree(out, ignore_errors=True)
    if orphans:
        failures.append(f"{one.name}: {orphans} workers outlived their command by 20 s")
    return {
        "command": one.name,
        "seconds of a run": round(seconds, 1),
        "kills": kills,
        "runs compared": runs,
        "differing": differing,
        "workers left": orphans,
        "most half-written files": most_parts,
    }


def main(words: list[str] | None = None) -> int:
    """Run it from the command line."""
    return command(__doc__ or "", COUNTS, "command", rows, words)


if __name__ == "__main__":
    sys.exit(main())
