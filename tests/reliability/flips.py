"""Single flipped bits in what is on disk: each is detected, or changes nothing. None may be silent.

``python -m tests.reliability.flips --count 100 --place store`` flips 100 bits, one at a time, in a copy of
intact files, and gives the copy to its reader:

- ``store``: all features are read; a flip is silent if one of them is another number.
- ``checkpoint``: the trained model is loaded; silent if a tensor or a setting is another one.
- ``resume``: the run resumes from its last checkpoint; silent if the trained weights are others.
- ``journal``: the evaluation resumes; silent if result, samples or reports are others.
- ``result``: two evaluations are compared; silent if the comparison says something else.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.reliability.commands import Command, prepared
from tests.reliability.processes import call, finished, last, warmed
from tests.reliability.tables import Row, command
from vega3d import Vega3DAdapter
from vega3d.store import FeatureStore
from vega3d.store.format import FeatureKey

COUNTS = {"store": 150, "checkpoint": 120, "resume": 80, "journal": 110, "result": 40}
OUTCOMES = ("detected", "harmless", "silent", "untyped")


@dataclass(frozen=True)
class Place:
    """Intact files and their reader.

    Attributes:
        folder: with the files; it is copied for each flip.
        patterns: of the files in which bits are flipped, all as often.
        outcome: of a copy; one of ``OUTCOMES``, and the output for ``untyped``.
    """

    folder: Path
    patterns: tuple[str, ...]
    outcome: Callable[[Path], tuple[str, str]]


def rows(folder: Path, counts: Mapping[str, int], seed: int, failures: list[str]) -> Iterator[Row]:
    """One row for each place."""
    commands = prepared(folder)
    for name, count in counts.items():
        (folder / name).mkdir()
        yield flipped(
            name, PLACES[name](commands, folder / name), count, random.Random(f"{seed} {name}"), failures
        )


def flipped(name: str, place: Place, count: int, dice: random.Random, failures: list[str]) -> Row:
    """Flip ``count`` bits, one at a time."""
    files = sorted({path for pattern in place.patterns for path in place.folder.glob(pattern)})
    copy, outcomes = place.folder.with_name("copy"), Counter(dict.fromkeys(OUTCOMES, 0))
    for number in range(count):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(place.folder, copy)
        file = copy / files[number % len(files)].relative_to(place.folder)
        content = bytearray(file.read_bytes())
        at = int(len(content) * dice.random() ** dice.choice((1, 4)))  # more of them in headers
        bit = dice.randrange(8)
        content[at] ^= 1 << bit
        file.unlink()
        file.write_bytes(bytes(content))
        outcome, output = place.outcome(copy)
        outcomes[outcome] += 1
        if outcome in ("silent", "untyped"):
            failures.append(f"{name}: bit {bit} of byte {at} of {file.name} is {outcome}. {last(output)}")
    return {"files": name, "kinds of file": len(files), "flips": count, **outcomes}


def store(commands: Mapping[str, Command], folder: Path) -> Place:
    """Every feature of a store is asked for by its key."""
    warmed(commands["build"].line, folder)
    whole = folder / "whole"
    keys = [FeatureKey.from_dict(entry.info["key"]) for entry in FeatureStore(whole).entries()]

    def content(path: Path) -> str:
        read = [FeatureStore(path).read([key]) for key in keys]
        return "\n".join(
            "missing"
            if one is None
            else f"{_sum(one.features.contiguous().numpy().tobytes())} {one.frames} {one.resampling}"
            for one in read
        )

    expected = content(whole).splitlines()

    def outcome(copy: Path) -> tuple[str, str]:
        code, output = call(lambda: print(content(copy)))
        found = output.splitlines()
        if code != 0:
            return _refused(output)
        if any(one not in ("missing", other) for one, other in zip(found, expected, strict=True)):
            return "silent", output
        return "harmless" if found == expected else "detected", output

    return Place(whole, ("*.safetensors", "store.json"), outcome)


def checkpoint(commands: Mapping[str, Command], folder: Path) -> Place:
    """The trained model with its LoRA and its settings."""
    warmed(commands["train"].line, folder)

    def content(path: Path) -> str:
        model = Vega3DAdapter.from_pretrained(path, backbone=None)
        tensors = {
            name: _sum(one.contiguous().flatten().view(torch.uint8).numpy().tobytes())
            for name, one in model.state_dict().items()
        }
        scales = [str(module.scaling) for module in model.modules() if hasattr(module, "scaling")]
        return f"{sorted(tensors.items())} {scales} {model.vega3d_config}"

    return _compared(folder / "whole" / "final", ("*.json", "*.safetensors", "lora/*"), content)


def resume(commands: Mapping[str, Command], folder: Path) -> Place:
    """The last checkpoint of a run that has two more steps to go."""
    one = commands["train"]
    warmed(one.line, folder)
    expected, run = one.results(folder / "whole"), folder / "run"
    shutil.copytree(folder / "whole", run)
    for name in ("final", "checkpoint-12"):
        shutil.rmtree(run / name)
    shutil.copytree(run, folder / "intact")
    usual = finished(one.into(folder / "intact"))[1].count("checkpoint-10")

    def outcome(copy: Path) -> tuple[str, str]:
        ending, output = _repeated(one, copy, expected)
        if ending != "equal":
            return ending, output
        return "detected" if output.count("checkpoint-10") > usual else "harmless", output

    return Place(run, ("checkpoint-10/[!R]*.*", "checkpoint-10/lora/*.*", "train_config.json"), outcome)


def _repeated(one: Command, copy: Path, expected: Mapping[str, str]) -> tuple[str, str]:
    """Outcome of a command that is repeated on a copy, and its output; ``equal`` if it ends as expected."""
    code, output = finished(one.into(copy))
    if code != 0:
        return _refused(output)
    return "equal" if one.results(copy) == expected else "silent", output


def journal(commands: Mapping[str, Command], folder: Path) -> Place:
    """The samples of an evaluation that was interrupted before it wrote its result."""
    one = commands["eval"]
    warmed(one.line, folder)
    expected, run = one.results(folder / "whole"), folder / "run"
    shutil.copytree(folder / "whole", run)
    for name in expected:
        (run / "vsibench" / name).unlink()
    asked = len((run / "vsibench/parts/0000.jsonl").read_bytes().splitlines())

    def outcome(copy: Path) -> tuple[str, str]:
        ending, output = _repeated(one, copy, expected)
        if ending != "equal":
            return ending, output
        lines = (copy / "vsibench/parts/0000.jsonl").read_bytes().splitlines()
        return "harmless" if len(lines) == asked else "detected", output

    return Place(run, ("vsibench/parts/*.jsonl", "vsibench/run.json"), outcome)


def result(commands: Mapping[str, Command], folder: Path) -> Place:
    """The result and the samples of an evaluation, compared with those of another one."""
    warmed(commands["eval"].line, folder)
    line = ["eval", "compare", str(folder / "cold" / "vsibench"), "--draws", "500"]
    whole, copy = folder / "whole", folder / "copy"
    shutil.copytree(whole, copy)
    expected = finished([*line, str(copy / "vsibench")])
    if expected[0] != 0:
        raise RuntimeError(expected[1])

    def outcome(copy: Path) -> tuple[str, str]:
        code, output = finished([*line, str(copy / "vsibench")])
        if code != 0:
            return _refused(output)
        return "harmless" if output == expected[1] else "silent", output

    return Place(whole, ("vsibench/result.json", "vsibench/samples.jsonl", "vsibench/run.json"), outcome)


PLACES: dict[str, Callable[[Mapping[str, Command], Path], Place]] = {
    "store": store,
    "checkpoint": checkpoint,
    "resume": resume,
    "journal": journal,
    "result": result,
}


def _compared(folder: Path, patterns: tuple[str, ...], content: Callable[[Path], str]) -> Place:
    """A place whose reader makes a text of all that it has read."""

    def read(path: Path) -> tuple[int | None, str]:
        def printed() -> None:
            text = content(path)
            with contextlib.suppress(OSError):
                print(f"\ncontent {_sum(text.encode())}")

        return call(printed)

    def said(output: str) -> str:
        return next(line for line in output.splitlines() if line.startswith("content "))

    code, output = read(folder)
    if code != 0:
        raise RuntimeError(output)
    expected = said(output)

    def outcome(copy: Path) -> tuple[str, str]:
        code, output = read(copy)
        if code != 0:
            return _refused(output)
        return "harmless" if said(output) == expected else "silent", output

    return Place(folder, patterns, outcome)


def _refused(output: str) -> tuple[str, str]:
    """A typed error is printed without a traceback."""
    return "untyped" if "Traceback" in output else "detected", output


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def main(words: list[str] | None = None) -> int:
    """Run it from the command line."""
    return command(__doc__ or "", COUNTS, "place", rows, words)


if __name__ == "__main__":
    sys.exit(main())
