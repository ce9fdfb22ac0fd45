"""Settings of a motion run, read from one YAML file by the library's own reader."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from experiments.miniature.config import Encoders, Features, read_config, refused
from experiments.miniature.motion.arms import ARMS, VIDEO
from vega3d.errors import ConfigError, unknown_choice

CONFIGS = Path(__file__).parent / "configs"
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Rooms:
    """Rooms, one pair of camera twins each.

    Attributes:
        train, test: how many.
        run: which run of rooms within the splits.
        test_split: ``test``, or ``val`` for a dry run.
        side: pixels.
    """

    train: int
    test: int
    run: int = 81
    test_split: Split = "test"
    side: int = 160


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning, the same for every arm.

    Attributes:
        steps: lengths, each a run of its own.
        batch: rooms, each with both twins and all their questions.
        lr, new_lr, tower_lr: of LoRA, of new modules, and of a vision tower that is trained.
        rank: of LoRA.
        warmup: steps.
        save: steps between checkpoints.
    """

    steps: tuple[int, ...] = (160, 400)
    batch: int = 8
    lr: float = 1e-3
    new_lr: float = 1e-3
    tower_lr: float = 1e-4
    rank: int = 16
    warmup: int = 15
    save: int = 50


@dataclass(frozen=True)
class Expected:
    """Expectation of P1 before the run.

    Attributes:
        gap: between the probes of video and host, in points of accuracy.
        uptake: of the language model.
        rooms, seeds: standard deviations of a paired difference, in points.
    """

    gap: float
    uptake: float
    rooms: float
    seeds: float


@dataclass(frozen=True)
class MotionSettings:
    """A motion run.

    Attributes:
        arms: names in ``arms.ARMS``.
        seeds: of fine-tuning.
        rooms, tuning, encoders, features: the stages.
        types: of questions.
        curve: numbers of training rooms at the largest length, beside all of them.
        curve_arms: arms of that curve.
        draws: of the bootstrap.
        expected: None for a run that decides nothing.
    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rooms: Rooms
    features: Features
    tuning: Tuning = field(default_factory=Tuning)
    encoders: Encoders = field(default_factory=Encoders)
    types: tuple[str, ...] = ("camera_turn", "camera_aside")
    curve: tuple[int, ...] = ()
    curve_arms: tuple[str, ...] = ()
    draws: int = 10_000
    expected: Expected | None = None

    def __post_init__(self) -> None:
        for name in (*self.arms, *self.curve_arms):
            if name not in ARMS:
                raise unknown_choice("arm", name, ARMS)
        if not self.seeds or not self.tuning.steps or min(self.rooms.train, self.rooms.test) < 2:
            raise refused("settings", self.rooms, "seeds, lengths, and 2 rooms or more of each kind")
        if set(self.curve_arms) - set(self.arms) or any(n > self.rooms.train for n in self.curve):
            raise refused("curve", self.curve, "arms of this run, and no more rooms than are made")

    def require_encoders(self) -> None:
        """Check that encoders that are trained elsewhere are there.

        Raises:
            ConfigError: one is not.
        """
        for name in sorted({ARMS[arm].encoder for arm in self.arms} - {"video", "untrained"}):
            if getattr(self.encoders, name) is None:
                script = {"image": "flow --kind image", "masked": "control --task masked"}[name]
                fix = f"train it with train.pico.{script}, then encoders.{name}=FOLDER; or leave its arm out"
                title = f"Missing encoder {name!r}."
                raise ConfigError(title, got="no folder", expected="a trained transformer", fix=fix)

    @property
    def variants(self) -> list[tuple[str, int, int]]:
        """(arm, steps, training rooms) of every run, the gate's first."""
        order = sorted(self.arms, key=lambda name: (name not in ("true_motion", VIDEO), name))
        whole = [(arm, steps, self.rooms.train) for steps in self.tuning.steps for arm in order]
        longest = max(self.tuning.steps)
        fewer = [n for n in self.curve if n < self.rooms.train]
        return whole + [(arm, longest, n) for n in fewer for arm in self.curve_arms]

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return dataclasses.asdict(self)


def load(name: str | os.PathLike[str], overrides: Iterable[str] = ()) -> MotionSettings:
    """A config by its name, as ``quick`` or ``motion``, or by its path, changed by ``key.sub=value``.

    Raises:
        ConfigError: there is no such file, or a setting is unknown or invalid.
    """
    return read_config(MotionSettings, CONFIGS, name, overrides)
