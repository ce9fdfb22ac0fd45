"""All settings of a run as frozen dataclasses, read from one YAML file by the library's own reader.

A key that nobody reads is an error. The arms are not settings: they are the table in ``arms.py``, and a
config names those that it can afford. This module computes nothing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from experiments.miniature.arms import ARMS
from vega3d.errors import ConfigError, unknown_choice
from vega3d.settings import apply_overrides, from_mapping, read_yaml

CONFIGS = Path(__file__).parent / "configs"
Config = TypeVar("Config")
PRIMARY = "rooms"
SETS = (PRIMARY, "furniture", "look", "camera")
"""Held-out sets: new rooms of the trained kind, then rooms with one thing that no trained room has."""


@dataclass(frozen=True)
class Rooms:
    """The world.

    Attributes:
        train: rooms that arms are fine-tuned on.
        held_out: rooms of the primary set.
        shifted: rooms of each of the other held-out sets.
        side, frames, fps: of the videos.
        per_type: most questions of one type about a room.
        rows: rows to train on for each room, where a row asks several questions (``questions: where``).
        seed: which run of rooms within their split; no pico model was trained on this one.
        workers: processes that render.
    """

    train: int
    held_out: int
    shifted: int
    side: int = 256
    frames: int = 96
    fps: float = 16.0
    per_type: int = 2
    rows: int = 2
    seed: int = 2
    workers: int = 1


@dataclass(frozen=True)
class Encoders:
    """The frozen encoders; those without a folder are trained here, on the same clips, as long as each other.

    Attributes:
        wan: folder of the video model, with its VAE and empty prompt, or ``pico``.
        image: folder of the twin's transformer, as ``train/pico/flow.py --kind image`` leaves it.
        masked: the same of ``train/pico/control.py --task masked``.
        depth: the same of ``train/pico/control.py --task depth``.
        same_size: refuse encoders whose architecture is not the video model's.
        clips, held_out_clips: for training those that have no folder.
        steps, batch, lr, seed: of that training; the video model's own numbers make a fair twin.
        compiled: compile the blocks; needs a C++ compiler.
    """

    wan: str = "pico"
    image: str | None = None
    masked: str | None = None
    depth: str | None = None
    same_size: bool = True
    clips: int = 3000
    held_out_clips: int = 160
    steps: int = 1000
    batch: int = 8
    lr: float = 2e-3
    seed: int = 0
    compiled: bool = True


@dataclass(frozen=True)
class What:
    """A host whose visual tokens say what is there and little of where (``hosts.py``).

    Attributes:
        scenes: rooms whose tokens decide what is kept.
        directions: how many are kept.
        held_out: rooms on which it is asked what it still knows.
    """

    scenes: int = 1000
    held_out: int = 100
    directions: int = 32


@dataclass(frozen=True)
class Features:
    """How frozen encoders are read.

    Attributes:
        block: zero-based block whose output is the feature, the same for every transformer.
        sigma: noise level of those that were trained to take noise away.
        pixels: area of a frame for the generator.
        window: frames of a micro-clip.
        between, length: frames between two of the host's in mode ``clip``, and latent frames of a part.
    """

    block: int
    sigma: float = 0.3
    pixels: int = 128 * 128
    window: int = 5
    between: int = 12
    length: int = 5


@dataclass(frozen=True)
class Probes:
    """Settings of probes of frozen features, before any language model is involved.

    Attributes:
        train: rooms of the training set that probes learn from; they are tested on the primary set.
        deep: also a small MLP.
        sweep_rooms: rooms of each set in the sweep over layers and noise levels.
        blocks, sigmas: of the sweep.
        encoders: names of encoders in the sweep.
    """

    train: int
    deep: bool = True
    sweep_rooms: int = 0
    blocks: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = (0.3,)
    encoders: tuple[str, ...] = ("video",)


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning, the same for every arm.

    Attributes:
        steps, batch: optimizer steps, and rows in each.
        lr, new_lr: of LoRA, and of projector and gate.
        rank, dropout: of LoRA.
        save: steps between checkpoints.
    """

    steps: int
    batch: int = 4
    lr: float = 2e-4
    new_lr: float = 1e-3
    rank: int = 16
    dropout: float = 0.05
    save: int = 100


@dataclass(frozen=True)
class Settings:
    """A run.

    Attributes:
        arms: names in ``arms.ARMS``.
        questions: ``vsibench``, its ten types, or ``where`` (see ``where.py``).
        seeds: of fine-tuning; every arm is trained with each of them.
        rooms, encoders, features, probes, tuning: the stages.
        host: ``pico``, the folder of a trained host, or ``what``: ``pico``, its tokens cut down here.
        what: how.
        nframes: frames that the host sees of a video.
        draws: of the bootstrap.
        swapped: arms that also answer with another clip's features, after training with their own.
        ames: pairs of the Ames set that an arm of ``swapped`` is asked about.
    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    rooms: Rooms
    features: Features
    probes: Probes
    tuning: Tuning
    encoders: Encoders = field(default_factory=Encoders)
    host: str = "pico"
    what: What = field(default_factory=What)
    questions: Literal["vsibench", "where"] = "vsibench"
    nframes: int = 8
    draws: int = 10_000
    swapped: tuple[str, ...] = ()
    ames: int = 0

    def __post_init__(self) -> None:
        for name in (*self.arms, *self.swapped):
            if name not in ARMS:
                raise unknown_choice("arm", name, ARMS)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise refused("seeds", list(self.seeds), "one or more, each once")
        if min(self.rooms.train, self.rooms.held_out) < 2 or self.probes.train > self.rooms.train:
            raise refused("rooms", self.rooms, "2 or more of each, and no more probe rooms than rooms")
        if lacking := [ARMS[n].reads for n in self.arms if ARMS[n].reads not in (None, *self.arms)]:
            raise refused("arms", list(self.arms), f"also {lacking[0]}, whose features another arm reads")
        if set(self.swapped) - set(self.arms):
            raise refused("swapped", list(self.swapped), "arms of this run")

    @property
    def counts(self) -> dict[str, int]:
        """Rooms of each set, the trained one first."""
        shifted = dict.fromkeys(SETS[1:], self.rooms.shifted) if self.rooms.shifted else {}
        return {"train": self.rooms.train, PRIMARY: self.rooms.held_out, **shifted}

    def to_dict(self) -> dict[str, object]:
        """Plain values, for the hash of a stage's inputs."""
        return dataclasses.asdict(self)


def load(name: str | os.PathLike[str], overrides: Iterable[str] = ()) -> Settings:
    """A config by its name, as ``quick`` or ``cpu``, or by its path, changed by ``key.sub=value``.

    Raises:
        ConfigError: there is no such file, or a setting is unknown or invalid.
    """
    return read_config(Settings, CONFIGS, name, overrides)


def read_config(
    kind: type[Config], folder: Path, name: str | os.PathLike[str], overrides: Iterable[str]
) -> Config:
    """Settings of a plan, from a config of its folder or from any path.

    Raises:
        ConfigError: there is no such file, or a setting is unknown or invalid.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        if str(name) not in known:
            raise unknown_choice("config", str(name), known)
        path = folder / f"{name}.yaml"
    made: Config = from_mapping(kind, apply_overrides(read_yaml(path), overrides))
    return made


def refused(name: str, got: object, expected: str) -> ConfigError:
    """The error for a setting that does not fit the others."""
    return ConfigError(f"Invalid {name}.", got=got, expected=expected, fix="correct the config")
