"""The rows of a harness: printed as a Markdown table as they come, and kept as JSON."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


def show(rows: Iterator[Row], failures: Sequence[str], file: Path | None = None) -> list[dict[str, Any]]:
    """Print rows as they come, then the failures; all of them, and as JSON into ``file``.

    Args:
        rows: with the same names in each.
        failures: filled while the rows are made.
        file: for the figures.
    """
    shown: list[dict[str, Any]] = []
    for row in rows:
        if not shown:
            print(f"| {' | '.join(row)} |\n|{'---|' * len(row)}", flush=True)
        print(f"| {' | '.join(str(value) for value in row.values())} |", flush=True)
        shown.append(dict(row))
    for line in failures:
        print(line)
    if file is not None:
        text = json.dumps({"rows": shown, "failures": list(failures)}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    return shown


def command(
    description: str,
    counts: Mapping[str, int],
    part: str,
    rows: Callable[[Path, Mapping[str, int], int, list[str]], Iterator[Row]],
    words: Sequence[str] | None = None,
) -> int:
    """The command line of a harness; its exit code is 1 if something failed.

    Args:
        description: for ``--help``.
        counts: trials of each row, unless ``--count`` says otherwise.
        part: name of the option that picks rows.
        rows: makes them from a scratch folder, the counts of the chosen rows, a seed and a list for failures.
        words: of the command line; None takes those of the process.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, help=f"trials of each row (default: {dict(counts)})")
    parser.add_argument(
        f"--{part}", dest="part", choices=sorted(counts), action="append", help="default: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides every moment and place (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    arguments = parser.parse_args(words)
    chosen = {name: arguments.count or counts[name] for name in counts if name in (arguments.part or counts)}
    failures: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was mounted is unmounted
    with tempfile.TemporaryDirectory() as folder:
        show(rows(Path(folder), chosen, arguments.seed, failures), failures, arguments.json)
    return 1 if failures else 0
