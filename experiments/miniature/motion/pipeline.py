"""The order of a motion run: rooms, encoders, features, probes, arms, results. Each stage resumes.

Probes come before any language model, and the arms of the gate before all others. ``minutes`` ends a call
after the stage that is then running; the same command continues. This module computes nothing.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from experiments.miniature.motion.arms import ARMS, VIDEO
from experiments.miniature.motion.config import MotionSettings
from experiments.miniature.packing import packed
from experiments.miniature.stages import Stages, digest_of_files, write_json
from vega3d._version import __version__
from vega3d.pico import pico_path

RESULTS = "results.json"
Say = Callable[[str], None]


def run(
    settings: MotionSettings, out: Path, *, minutes: float = math.inf, say: Say = print
) -> dict[str, Any]:
    """Every stage; returns the results, or nothing if ``minutes`` were over before.

    Raises:
        ConfigError: a folder holds something else, or the expected effect is smaller than what the plan sees.
    """
    check_power(settings)
    settings.require_encoders()
    work = _Run(settings, Path(out).absolute(), time.monotonic() + 60 * minutes, say)
    for stage in (work.rooms, work.encoders, work.features, work.probes, work.arms):
        if not stage():
            say("motion: the time is over; the same command continues")
            return {}
    return work.results()


def check_power(settings: MotionSettings) -> float | None:
    """Points that P1 expects; None without an expectation.

    Raises:
        ConfigError: they are fewer than what the plan sees.
    """
    from experiments.miniature.power import LEVEL, Spread, require_visible

    own = settings.expected
    if own is None:
        return None
    spread, seeds = Spread(own.rooms, own.seeds), len(settings.seeds)
    return require_visible(spread, settings.rooms.test, seeds, own.gap, own.uptake, LEVEL / 2)


class _Run:
    """The state that stages share: results by name of stage."""

    def __init__(self, settings: MotionSettings, out: Path, end: float, say: Say) -> None:
        self.settings, self.out, self.end = settings, out, end
        self.stages = Stages(out, lambda line: say(f"motion: {line}"))
        self.made: dict[str, dict[str, Any]] = {}
        self._sets: dict[str, Any] = {}

    def _stage(self, name: str, inputs: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> bool:
        """Run a stage; False if the time is over."""
        if time.monotonic() > self.end:
            return False
        self.made[name] = self.stages.run(name, {"version": __version__, **inputs}, make)
        return True

    def _digest(self, *names: str) -> dict[str, str]:
        return {name: self.made[name]["digest"] for name in names}

    def rooms(self) -> bool:
        from experiments.miniature.motion.rooms import make_set

        own = self.settings.rooms
        for name, split, count in (("train", "train", own.train), ("test", own.test_split, own.test)):
            inputs = {"split": split, "run": own.run, "count": count, "side": own.side}
            if not self._stage(f"rooms/{name}", inputs, partial(make_set, **inputs)):
                return False
        return True

    def set_of(self, name: str) -> Any:
        """The rooms of a set, in memory once."""
        from experiments.miniature.motion.rooms import load_set

        if name not in self._sets:
            self._sets[name] = load_set(self.out / "rooms" / name, getattr(self.settings.rooms, name))
        return self._sets[name]

    def encoders(self) -> bool:
        from experiments.miniature.encoders import given, make_encoder, wan_folder

        own = self.settings.encoders
        names = {ARMS[arm].encoder for arm in self.settings.arms if ARMS[arm].source in ("wan", "latents")}
        for name in sorted({*names, "video"}):
            place = given(name, own)
            inputs: dict[str, Any] = {"wan": digest_of_files(wan_folder(own)), "seed": own.seed}
            inputs["given"] = None if place is None else digest_of_files(place)
            make = partial(make_encoder, name=name, settings=own, clips=self.out)
            if not self._stage(f"encoders/{name}", inputs, make):
                return False
        return True

    def _stored(self) -> list[str]:
        return [arm for arm in self.settings.arms if ARMS[arm].is_stored and ARMS[arm].source != "host"]

    def features(self) -> bool:
        from experiments.miniature.motion.bed import host_grid
        from experiments.miniature.motion.features import make_features

        settings, grid = self.settings, host_grid(self.settings.rooms.side)
        for arm in self._stored():
            for name in ("train", "test"):
                encoder = f"encoders/{ARMS[arm].encoder}"
                inputs = {**self._digest(f"rooms/{name}", encoder), "arm": dataclasses.asdict(ARMS[arm])}
                inputs |= {"features": dataclasses.asdict(settings.features), "grid": grid}
                rooms, home = self.set_of(name), self.out / "encoders"
                how = {"arm": ARMS[arm], "rooms": rooms, "grid": grid, "settings": settings.features}
                if not self._stage(
                    f"features/{arm}/{name}", inputs, partial(make_features, home=home, **how)
                ):
                    return False
        return True

    def features_of(self, arm: str, name: str) -> Any:
        """Stored features of an arm; None without."""
        from experiments.miniature.motion.features import load_features

        if arm not in self._stored():
            return None
        folder = self.out / "features" / arm / name
        return load_features(folder, getattr(self.settings.rooms, name))

    def probes(self) -> bool:
        from experiments.miniature.motion.probing import probe

        for arm in self._stored():
            inputs = {
                **self._digest(f"features/{arm}/train", f"features/{arm}/test"),
                "types": self.settings.types,
            }

            def make(folder: Path, arm: str = arm) -> dict[str, Any]:
                both = (self.features_of(arm, "train"), self.features_of(arm, "test"))
                found = probe(self.set_of("train"), self.set_of("test"), both, self.settings.types)
                return {name: v if name == "best" else packed(v) for name, v in found.items()}

            if not self._stage(f"probes/{arm}", inputs, make):
                return False
        return True

    def arms(self) -> bool:
        for arm, steps, rooms in self.settings.variants:
            for seed in self.settings.seeds:
                name = f"arms/{arm}/{steps}/{rooms}/{seed}"
                inputs: dict[str, Any] = {**self._digest("rooms/train", "rooms/test")}
                if arm in self._stored():
                    inputs |= self._digest(f"features/{arm}/train", f"features/{arm}/test")
                inputs |= {"tuning": dataclasses.asdict(self.settings.tuning), "types": self.settings.types}
                inputs |= {
                    "host": digest_of_files(pico_path("host")),
                    "steps": steps,
                    "rooms": rooms,
                    "seed": seed,
                }
                make = partial(self._arm, arm=arm, steps=steps, rooms=rooms, seed=seed)
                if not self._stage(name, inputs, make):
                    return False
        return True

    def _arm(self, folder: Path, arm: str, steps: int, rooms: int, seed: int) -> dict[str, Any]:
        from experiments.miniature.motion.bed import Bed, host_grid
        from experiments.miniature.motion.train import CHECKPOINT, Source, ask, train

        start, own, types = time.process_time(), self.settings, self.settings.types
        stored = {name: self.features_of(arm, name) for name in ("train", "test")}
        channels = 0 if stored["train"] is None else stored["train"].shape[-1]
        bed = Bed(ARMS[arm], channels, seed, own.tuning, host_grid(own.rooms.side))
        source = Source(bed, self.set_of("train"), stored["train"])
        made = train(folder, bed, source, rooms, steps, seed, own.tuning, types)
        asked = Source(bed, self.set_of("test"), stored["test"])
        made["scores"] = packed(ask(bed, asked, types))
        if arm == VIDEO:
            made["swapped"] = packed(ask(bed, asked, types, shift=1))
        (folder / CHECKPOINT).unlink()  # scores are what is kept
        return made | {"cpu_seconds": round(time.process_time() - start, 1)}

    def results(self) -> dict[str, Any]:
        """Write and return what tables and figures are made from."""
        own = self.settings
        runs = []
        for arm, steps, rooms in own.variants:
            for seed in own.seeds:
                made = self.made[f"arms/{arm}/{steps}/{rooms}/{seed}"]
                names = ("scores", "swapped", "contribution", "trained", "finite", "cpu_seconds")
                kept = {name: made[name] for name in names if name in made}
                runs.append({"arm": arm, "steps": steps, "rooms": rooms, "seed": seed, **kept})
        results = {
            "questions": self.set_of("test").asked(own.types),
            "train": own.rooms.train,
            "draws": own.draws,
            "runs": runs,
            "probes": {
                arm: {k: self.made[f"probes/{arm}"][k] for k in ("best", "ridge", "mlp")}
                for arm in self._stored()
            },
            "rooms": {name: self.made[f"rooms/{name}"]["asked"] for name in ("train", "test")},
            "settings": own.to_dict(),
        }
        write_json(self.out / RESULTS, results)
        return results
