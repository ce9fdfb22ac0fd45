"""Several processes in one folder: what they share ends whole and equal; what cannot be shared is refused.

``python -m tests.reliability.concurrency --count 2 --case builds``:

- ``builds``: three builds and two readers that never stop, on one store. Each feature that is read is equal
  to that of a store which one process built, or missing.
- ``evals``: two equal evaluations into one folder end in the files of one; other settings are refused.
- ``trains``: two runs into one folder; one is refused, and the other ends in its own weights.
- ``stores``: four processes make one store at the same moment: all with one generator, or two with another,
  which are refused.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from tests.reliability.commands import Command, prepared
from tests.reliability.processes import Process, finished, last, warmed
from tests.reliability.tables import Row, command
from vega3d.errors import StoreError
from vega3d.store import FeatureFormat, FeatureStore
from vega3d.store.format import FeatureKey

COUNTS = {"builds": 3, "evals": 3, "trains": 3, "stores": 200}
Case = Callable[[Mapping[str, Command], Path, int, random.Random, list[str]], dict[str, int]]


def rows(folder: Path, counts: Mapping[str, int], seed: int, failures: list[str]) -> Iterator[Row]:
    """One row for each case."""
    commands = prepared(folder)
    for name, count in counts.items():
        (folder / name).mkdir()
        before = len(failures)
        figures = CASES[name](commands, folder / name, count, random.Random(f"{seed} {name}"), failures)
        text = ", ".join(f"{value:,} {what}" for what, value in figures.items())
        yield {"case": name, "trials": count, "failures": len(failures) - before, "figures": text}


def builds(
    commands: Mapping[str, Command], folder: Path, count: int, dice: random.Random, failures: list[str]
) -> dict[str, int]:
    """Three builds and two readers on one store."""
    one = commands["build"]
    warmed(one.line, folder)
    expected, whole = one.results(folder / "whole"), FeatureStore(folder / "whole")
    keys = [FeatureKey.from_dict(entry.info["key"]) for entry in whole.entries()]
    known = [whole.read([key]).features for key in keys]  # type: ignore[union-attr]
    figures = {"reads": 0, "hits": 0, "wrong": 0}
    for number in range(count):
        out, end = folder / f"store{number}", folder / f"end{number}"

        def read(out: Path = out, end: Path = end) -> int:
            while not (out / "store.json").is_file():
                time.sleep(0.01)
            store, seen = FeatureStore(out), dict.fromkeys(figures, 0)
            while not end.exists():
                for key, features in zip(keys, known, strict=True):
                    found = store.read([key])
                    seen["reads"] += 1
                    seen["hits"] += found is not None
                    seen["wrong"] += found is not None and not torch.equal(found.features, features)
            print(json.dumps(seen))
            return 0

        writers = []
        for _ in range(3):
            writers.append(Process(one.into(out)))
            writers[-1].wait(dice.uniform(0, 0.5))
        readers = [Process(read) for _ in range(2)]
        codes = [writer.wait() for writer in writers]
        end.touch()
        if codes != [0, 0, 0] or one.results(out) != expected:
            outputs = [last(writer.output) for writer in writers]
            failures.append(f"builds {number}: codes {codes}, or another store than of one build; {outputs}")
        for reader in readers:
            if reader.wait() != 0:
                failures.append(f"builds {number}: a reader ended: {last(reader.output)}")
                continue
            for name, value in json.loads(reader.output.splitlines()[-1]).items():
                figures[name] += value
        shutil.rmtree(out)
    if figures["wrong"]:
        failures.append(f"builds: {figures['wrong']} features were read that are others")
    return figures


def evals(
    commands: Mapping[str, Command], folder: Path, count: int, dice: random.Random, failures: list[str]
) -> dict[str, int]:
    """Two equal evaluations at once, and one with other settings."""
    one = commands["eval"]
    warmed(one.line, folder)
    expected = one.results(folder / "whole")
    figures = {"equal": 0, "other settings refused": 0}
    for number in range(count):
        out = folder / f"run{number}"
        first = Process(one.into(out))
        first.wait(dice.uniform(0, 1))
        second = Process(one.into(out))
        _until((out / "vsibench" / "run.json").is_file)
        other = finished(one.into(out, "--limit", "3"))
        codes = [process.wait() for process in (first, second)]
        figures["equal"] += codes == [0, 0] and one.results(out) == expected
        figures["other settings refused"] += _is_refused(*other)
        if figures["equal"] <= number or figures["other settings refused"] <= number:
            outputs = [last(output) for output in (first.output, second.output, other[1])]
            failures.append(f"evals {number}: {[*codes, other[0]]} {outputs}")
            return figures
    return figures


def trains(
    commands: Mapping[str, Command], folder: Path, count: int, dice: random.Random, failures: list[str]
) -> dict[str, int]:
    """Two runs with differing seeds in one folder."""
    one = commands["train"]
    warmed(one.line, folder)
    seeds = ((), ("trainer.seed=4",))
    finished(one.into(folder / "second", *seeds[1]))
    expected = [one.results(folder / name) for name in ("whole", "second")]
    figures = {"refused": 0, "equal to a run alone": 0}
    for number in range(count):
        out = folder / f"run{number}"
        both = []
        for seed in seeds:
            both.append(Process(one.into(out, *seed)))
            both[-1].wait(dice.uniform(0, 1.5))
        codes = [process.wait() for process in both]
        refused = [_is_refused(process.code, process.output) for process in both]
        fine = [at for at, code in enumerate(codes) if code == 0]
        equal = len(fine) == 1 and one.results(out) == expected[fine[0]]
        figures["refused"] += sum(refused)
        figures["equal to a run alone"] += equal
        if sum(refused) != 1 or not equal:
            failures.append(f"trains {number}: codes {codes}, {[last(process.output) for process in both]}")
        shutil.rmtree(out, ignore_errors=True)
    return figures


def stores(
    commands: Mapping[str, Command], folder: Path, count: int, dice: random.Random, failures: list[str]
) -> dict[str, int]:
    """Four processes make one store."""
    figures = {"made or opened": 0, "refused": 0}
    for number in range(count):
        path, start, others = folder / f"store{number}", folder / f"start{number}", number % 2

        def make(fingerprint: str, path: Path = path, start: Path = start) -> int:
            _until(start.exists)
            try:
                FeatureStore.create(
                    path, fingerprint=fingerprint, backbone={"type": "any"}, form=FeatureFormat()
                )
            except StoreError:
                return 3
            return 0

        names = ["a", "a", *(("b", "b") if others else ("a", "a"))]
        makers = [Process(lambda name=name, make=make: make(name)) for name in names]  # type: ignore[misc]
        start.touch()
        codes = [maker.wait() for maker in makers]
        winner = FeatureStore(path).fingerprint
        wanted = [0 if name == winner else 3 for name in names]
        figures["made or opened"] += codes.count(0)
        figures["refused"] += codes.count(3)
        if codes != wanted:
            outputs = [last(maker.output) for maker in makers]
            failures.append(f"stores {number}: {names} ended with {codes}, {winner} won; {outputs}")
        for maker in makers:
            maker.close()
    return figures


CASES: dict[str, Case] = {"builds": builds, "evals": evals, "trains": trains, "stores": stores}


def _until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


def _is_refused(code: int | None, output: str) -> bool:
    return code == 1 and "Traceback" not in output and "vega3d" in output


def main(words: list[str] | None = None) -> int:
    """Run it from the command line."""
    return command(__doc__ or "", COUNTS, "case", rows, words)


if __name__ == "__main__":
    sys.exit(main())
