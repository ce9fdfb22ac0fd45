"""The four commands that work for long, on the shipped models, and the files in which two runs must agree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reliability.processes import finished
from vega3d.store import FeatureStore
from vega3d.store.feature_store import Damage
from vega3d.store.format import FeatureKey

Results = dict[str, str]
GENERATOR = ["--backbone", "pico", "--set", "block=1", "--set", "pixels=4096"]


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: of the table's row.
        line: its words; ``{out}`` stands for the folder of a run.
        results: what has to be equal whatever happened on the way, by name.
    """

    name: str
    line: tuple[str, ...]
    results: Callable[[Path], Results]

    def into(self, out: Path, *more: str) -> list[str]:
        """The words for one folder."""
        return [word.format(out=out) for word in self.line] + list(more)


def prepared(folder: Path) -> dict[str, Command]:
    """Make rooms and a store to work on; the commands by name."""
    data, store, config = folder / "data", folder / "features", folder / "train.json"
    made = ["rooms", "make", "--held-out", "--split", "train", "--per-type", "1", "--workers", "1"]
    _done([*made, "--scenes", "16", "--size", "64", "--frames", "8", "--out", str(data)])
    rows = str(data / "conversations.jsonl")
    media = [rows, *GENERATOR, "--precision", "float32", "--nframes"]
    _done(["cache", "build", str(store), *media, "2"])
    config.write_text(json.dumps(_training(rows, store)), encoding="utf-8")
    asked = ["--data", str(data), "--frames", "4", "--device", "cpu", "--quiet"]
    rooms = ["--scenes", "12", "--size", "48", "--frames", "8", "--workers", "2", "--geometry"]
    return {
        one.name: one
        for one in (
            Command("build", ("cache", "build", "{out}", *media, "8"), features),
            Command("train", ("train", str(config), "trainer.output_dir={out}"), trained),
            Command(
                "eval", ("eval", "run", "pico", "--tasks", "vsibench", "--out", "{out}", *asked), answered
            ),
            Command("rooms", ("rooms", "make", "--out", "{out}", *rooms), every_file),
        )
    }


def _done(line: list[str]) -> None:
    code, output = finished(line)
    if code != 0:
        raise RuntimeError(f"{line} ended with {code}:\n{output}")


def _training(rows: str, store: Path) -> dict[str, Any]:
    """LoRA for 12 steps on stored features; JSON is YAML."""
    return {
        "model": {"host": "pico", "backbone": {"path": "pico", "block": 1, "pixels": 4096}},
        "recipe": "lora",
        "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
        "data": [{"file": rows}],
        "store": {"path": str(store)},
        "sampling": {"nframes": 2},
        "new_modules_lr": 1e-2,
        "trainer": {
            "output_dir": "out",
            "per_device_train_batch_size": 2,
            "max_steps": 12,
            "save_steps": 2,
            "save_strategy": "steps",
            "logging_steps": 1,
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
        },
    }


def features(out: Path) -> Results:
    """Every stored feature by its address; damage counts as a result, too."""
    store, found = FeatureStore(out), {}
    for one in store.verify():
        if isinstance(one, Damage):
            found[f"damage {one}"] = "damage"
        else:
            read = store.read([FeatureKey.from_dict(one.info["key"])])
            found[one.digest] = (
                "missing" if read is None else _sum(read.features.contiguous().numpy().tobytes())
            )
    return found


def trained(out: Path) -> Results:
    """The weights of the trained model."""
    return _files(out / "final", "*.safetensors")


def answered(out: Path) -> Results:
    """Result, samples and reports of an evaluation."""
    wanted = ("result.json", "samples.jsonl", "report.md", "report.html")
    return {name: _sum((out / "vsibench" / name).read_bytes()) for name in wanted}


def every_file(out: Path) -> Results:
    """All files; what a killed process left half-written under another name is no result."""
    return {name: sum_ for name, sum_ in _files(out, "*").items() if not name.endswith(".part")}


def parts(out: Path) -> int:
    """Number of half-written files that are left under names that are never read."""
    return sum(path.name.endswith(".part") for path in out.rglob("*"))


def _files(folder: Path, pattern: str) -> Results:
    files = sorted(path for path in folder.rglob(pattern) if path.is_file())
    return {str(path.relative_to(folder)): _sum(path.read_bytes()) for path in files}


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
