"""A disk that fills up: a typed error, nothing lost, and the same command succeeds once there is room.

``python -m tests.reliability.full_disk --count 5 --command rooms``. Each trial gives a command less room than
it needs, of a random size: by a limit on the size of each file and, where root can mount, by a small file
system in memory. Then the command runs again with enough room.
"""

from __future__ import annotations

import contextlib
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.reliability.commands import Command, prepared
from tests.reliability.processes import finished, last, warmed
from tests.reliability.tables import Row, command

COUNTS = {"build": 6, "train": 6, "eval": 6, "rooms": 6}
PAGE = 4096


def rows(folder: Path, counts: Mapping[str, int], seed: int, failures: list[str]) -> Iterator[Row]:
    """One row for each command and each kind of limit."""
    commands = prepared(folder)
    for name, count in counts.items():
        (folder / name).mkdir()
        warmed(commands[name].line, folder / name)
        for kind in ("file size", "tmpfs") if can_mount(folder) else ("file size",):
            yield filled(
                commands[name], folder / name, kind, count, random.Random(f"{seed} {name} {kind}"), failures
            )


def can_mount(folder: Path) -> bool:
    """True if this user may mount a file system in memory."""
    place = folder / "mount"
    place.mkdir(exist_ok=True)
    with contextlib.suppress(OSError, subprocess.CalledProcessError), tmpfs(place, 64 * PAGE):
        return True
    return False


@contextlib.contextmanager
def tmpfs(place: Path, size: int) -> Iterator[Callable[[], None]]:
    """A file system of ``size`` bytes; gives the function that makes it large."""

    def mount(options: str) -> None:
        line = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        subprocess.run(line, check=True, capture_output=True)

    mount(f"size={size}")
    try:
        yield lambda: mount("remount,size=1g")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True, capture_output=True)


def filled(
    one: Command, folder: Path, kind: str, count: int, dice: random.Random, failures: list[str]
) -> Row:
    """Run a command ``count`` times with too little room."""
    whole, expected = folder / "whole", one.results(folder / "whole")
    sizes = [path.stat().st_size for path in whole.rglob("*") if path.is_file()]
    figures = {"typed error": 0, "there was room": 0, "other end": 0, "resumed equal": 0, "differing": 0}
    for number in range(count):
        place = folder / f"{kind.replace(' ', '-')}-{number}"
        place.mkdir()
        if kind == "tmpfs":
            room = int(sum(sizes) * dice.uniform(0.02, 0.95))
            with tmpfs(place, max(room // PAGE, 1) * PAGE) as enlarge:
                first = finished(one.into(place / "out"))
                enlarge()
                second = finished(one.into(place / "out"))
                found = one.results(place / "out") if second[0] == 0 else {}
        else:
            room = int(max(sizes) * dice.random() ** 3)
            first = finished(one.into(place / "out"), lambda room=room: limit(room))
            second = finished(one.into(place / "out"))
            found = one.results(place / "out") if second[0] == 0 else {}
        code, output = first
        typed = code == 1 and "Traceback" not in output and "vega3d" in output
        ended = "there was room" if code == 0 else "typed error" if typed else "other end"
        result = "resumed equal" if found == expected else "differing"
        figures[ended] += 1
        figures[result] += 1
        if ended == "other end":
            failures.append(f"{one.name}, {kind} {number}, {room} bytes: code {code}: {last(output)}")
        if result == "differing":
            failures.append(f"{one.name}, {kind} {number}: again: code {second[0]}: {last(second[1])}")
        shutil.rmtree(place, ignore_errors=True)
    return {"command": one.name, "limit": kind, "trials": count, **figures}


def limit(size: int) -> None:
    """No file of this process and of its children becomes larger; writing more is an OSError."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def main(words: list[str] | None = None) -> int:
    """Run it from the command line."""
    return command(__doc__ or "", COUNTS, "command", rows, words)


if __name__ == "__main__":
    sys.exit(main())
