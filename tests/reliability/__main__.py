"""All harnesses by name: ``python -m tests.reliability kills --count 25 --command train``."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

HARNESSES = ("kills", "flips", "full_disk", "concurrency", "fuzz")


def main(words: list[str]) -> int:
    """Run one harness in a process of its own; without a name, all that are there, one after the other."""
    if words and words[0] not in HARNESSES:
        print(f"usage: python -m tests.reliability [{' | '.join(HARNESSES)}] [--help]", file=sys.stderr)
        return 2
    names = words[:1] or [name for name in HARNESSES if importlib.util.find_spec(f"tests.reliability.{name}")]
    codes = []
    for name in names:
        if not words:
            print(f"\n{name}\n", flush=True)
        codes.append(
            subprocess.run([sys.executable, "-m", f"tests.reliability.{name}", *words[1:]]).returncode
        )
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
