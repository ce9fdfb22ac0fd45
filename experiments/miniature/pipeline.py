"""The order of a run: rooms, host, encoders, features, probes, tuning, questions, Ames pairs, results.

Probes come before any language model, as the plan asks. Each stage's inputs name what it depends on, so a
changed setting makes again just what hangs on it. This module decides nothing and computes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.miniature import register_encoders
from experiments.miniature.arms import ARMS, Arm
from experiments.miniature.config import PRIMARY, Settings
from experiments.miniature.stages import Stages, digest_of_files, write_json
from vega3d._version import __version__
from vega3d.pico import pico_path

STAGES = ("rooms", "host", "encoders", "features", "probes", "tuning", "questions", "ames", "results")
Say = Callable[[str], None]
SAY: Say = functools.partial(print, flush=True)


def run(settings: Settings, out: Path, *, until: str | None = None, say: Say = SAY) -> dict[str, Any]:
    """Every stage; returns the results, or what there is when ``until`` is reached.

    Raises:
        ConfigError: a folder holds something else, or settings make no sense.
    """
    from vega3d.errors import unknown_choice

    if until is not None and until not in STAGES:
        raise unknown_choice("stage", until, STAGES)
    register_encoders()
    made = _Run(settings, Path(out).absolute(), say)
    for name in STAGES:
        getattr(made, f"do_{name}")()
        if name == until:
            break
    return made.results


class _Run:
    """The state that stages share: results by stage, folders by name."""

    def __init__(self, settings: Settings, out: Path, say: Say) -> None:
        self.settings, self.out, self.say = settings, out, say
        self.stages = Stages(out, lambda line: say(f"miniature: {line}"))
        self.made: dict[str, dict[str, Any]] = {}
        self.results: dict[str, Any] = {}

    def _stage(self, name: str, inputs: dict[str, Any], make: Callable[[Path], dict[str, Any]]) -> None:
        self.made[name] = self.stages.run(name, {"version": __version__, **inputs}, make)

    def _digest(self, *names: str) -> dict[str, str]:
        return {name: self.made[name]["digest"] for name in names}

    @property
    def _sets(self) -> dict[str, Any]:
        sets: dict[str, Any] = self.made["rooms"]["sets"]
        return sets

    @property
    def _arms(self) -> list[Arm]:
        return [ARMS[name] for name in self.settings.arms]

    def _store(self, arm: Arm) -> Path:
        """Of the arm itself, or of the one that it reads."""
        own = arm.name if arm.listens else str(arm.reads)
        return self.out / "features" / own / "store"

    def _model(self, arm: str, seed: int) -> Path:
        return self.out / "tuning" / arm / str(seed) / "final"

    # ---------------------------------------------------------------- before any language model

    def do_rooms(self) -> None:
        from experiments.miniature.rooms import make_sets

        world = dataclasses.asdict(self.settings.rooms) | {"nframes": self.settings.nframes}
        world["asked"] = self.settings.questions
        del world["workers"]  # any number of processes writes the same bytes
        self._stage("rooms", world, lambda folder: make_sets(folder, self.settings, self.say))

    def do_host(self) -> None:
        if self.settings.host != "what":
            return
        from experiments.miniature.hosts import HOST, make_host

        own = self.settings.what
        inputs = dataclasses.asdict(own) | {"of": digest_of_files(pico_path("host"))}
        self._stage("host", inputs, lambda folder: make_host(folder, own))
        self.settings = dataclasses.replace(self.settings, host=str(self.out / "host" / HOST))

    def do_encoders(self) -> None:
        from experiments.miniature.encoders import given, is_trained, make_clips, make_encoder, wan_folder

        swept = self.settings.probes.encoders if self.settings.probes.sweep_rooms else ()
        own, wan = self.settings.encoders, digest_of_files(wan_folder(self.settings.encoders))
        names = sorted({arm.encoder for arm in self._arms} | {*swept, "video"})
        if any(is_trained(name, own) for name in names):
            counts = {"clips": own.clips, "held_out_clips": own.held_out_clips, "wan": wan}
            self._stage("clips", counts, lambda folder: make_clips(folder, own))
        for name in names:
            inputs: dict[str, Any] = {"wan": wan, "seed": own.seed, "same_size": own.same_size}
            if is_trained(name, own):
                inputs |= {"steps": own.steps, "batch": own.batch, "lr": own.lr, **self._digest("clips")}
            elif (place := given(name, own)) is not None:
                inputs["given"] = digest_of_files(place)
            self._stage(
                f"encoders/{name}",
                inputs,
                lambda folder, name=name: make_encoder(folder, name, own, self.out / "clips"),  # type: ignore[misc]
            )

    def _encoder(self, name: str) -> str:
        """Digest of an encoder's files."""
        found: str = self.made[f"encoders/{name}"]["files"]
        return found

    def do_features(self) -> None:
        from experiments.miniature.features import host_path, make_features

        for arm in sorted(self._arms, key=lambda one: one.reads is not None):  # those that are read first
            if not arm.listens:
                continue
            inputs: dict[str, Any] = {"arm": dataclasses.asdict(arm), **self._digest("rooms")}
            inputs["features"] = dataclasses.asdict(self.settings.features)
            inputs["encoder"] = self._encoder(arm.encoder)
            if arm.source == "host":
                inputs["host"] = digest_of_files(Path(host_path(self.settings)))
            if arm.reads is not None:
                inputs |= self._digest(f"features/{arm.reads}")
            self._stage(
                f"features/{arm.name}",
                inputs,
                lambda folder, arm=arm: make_features(  # type: ignore[misc]
                    folder, arm, self.settings, self.out / "rooms", self._sets,
                    self.out / "encoders", self.out / "features",
                ),
            )  # fmt: skip

    def do_probes(self) -> None:
        from experiments.miniature.probing import probe_arm, sweep, sweep_settings

        rooms = self.out / "rooms"
        for arm in self._arms:
            if arm.listens:
                self._stage(
                    f"probes/{arm.name}",
                    {**self._digest("rooms", f"features/{arm.name}"), **sweep_settings(self.settings)},
                    lambda folder, arm=arm: probe_arm(self._store(arm), self.settings, rooms, self._sets),  # type: ignore[misc]
                )
        if not self.settings.probes.sweep_rooms:
            return
        for name in self.settings.probes.encoders:
            self._stage(
                f"sweep/{name}",
                {
                    "encoder": self._encoder(name),
                    **self._digest("rooms"),
                    **sweep_settings(self.settings),
                },
                lambda folder, name=name: {  # type: ignore[misc]
                    "r2": sweep(self.out / "encoders" / name / "wan", self.settings, rooms, self._sets)
                },
            )

    # ---------------------------------------------------------------- with one

    def do_tuning(self) -> None:
        from experiments.miniature.features import host_path
        from experiments.miniature.tuning import tune

        host = digest_of_files(Path(host_path(self.settings)))
        for seed in self.settings.seeds:  # all arms with one seed, then the next: pairs come early
            for arm in self._arms:
                store = self._store(arm)
                inputs = {"arm": arm.name, "seed": seed, "host": host, "nframes": self.settings.nframes}
                inputs |= {"tuning": dataclasses.asdict(self.settings.tuning)}
                inputs |= self._digest("rooms", f"features/{store.parent.name}")
                self._stage(
                    f"tuning/{arm.name}/{seed}",
                    inputs,
                    lambda folder, arm=arm, seed=seed, store=store: tune(  # type: ignore[misc]
                        folder, arm, seed, self.settings, self.out / "rooms", store
                    ),
                )

    def do_questions(self) -> None:
        for seed in self.settings.seeds:
            for arm in self._arms:
                for name in self._sets:
                    if name != "train":
                        self._ask(arm, seed, name, swap=False)
                if arm.name in self.settings.swapped:
                    self._ask(arm, seed, PRIMARY, swap=True)

    def _ask(self, arm: Arm, seed: int, name: str, swap: bool) -> None:
        from experiments.miniature.asking import ask

        tuned = f"tuning/{arm.name}/{seed}"
        self._stage(
            f"questions/{arm.name}/{seed}/{name}{'-swapped' if swap else ''}",
            {**self._digest("rooms", tuned), "set": name, "swap": swap},
            lambda folder: ask(
                folder, self._model(arm.name, seed), self._store(arm), self.settings,
                self.out / "rooms" / name, swap,
            ),
        )  # fmt: skip

    def do_ames(self) -> None:
        from experiments.miniature.ames import ames

        if not self.settings.ames or "host" not in self.settings.arms:
            return
        seed = self.settings.seeds[0]
        for name in self.settings.swapped:
            tuned = [f"tuning/{arm}/{seed}" for arm in ("host", name)]
            models = {arm: self._model(arm, seed) for arm in ("host", name)}
            self._stage(
                f"ames/{name}",
                {**self._digest(*tuned), "pairs": self.settings.ames},
                lambda folder, name=name, models=models: ames(  # type: ignore[misc]
                    folder, ARMS[name], self.settings, self.out / "encoders", models
                ),
            )

    # ---------------------------------------------------------------- what came out

    def do_results(self) -> None:
        from experiments.miniature.analysis import analyse
        from experiments.miniature.collecting import collect
        from experiments.miniature.pages import report

        self.results = collect(self.settings, self.made, self.out / "rooms")
        write_json(self.out / "results.json", self.results)
        analysis = analyse(self.results)
        write_json(self.out / "analysis.json", analysis)
        text = report(self.results, analysis, {})
        (self.out / "report.md").write_text(text, encoding="utf-8")
        self.say(text)
