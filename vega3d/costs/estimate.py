"""Estimate of the costs of a host with a generator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from vega3d.backbones.base import BackboneCost, Part, clip_cost
from vega3d.config import FusionConfig
from vega3d.costs import host as hosts
from vega3d.costs.memory import training_memory
from vega3d.costs.setup import ALL, Setup
from vega3d.costs.stored import stored_bytes
from vega3d.errors import ConfigError, nearest
from vega3d.fusion.base import build
from vega3d.hosts.base import family_of
from vega3d.hosts.empty import empty_host, find_host
from vega3d.media.frame_plan import frame_plan
from vega3d.registry import BUILT_IN, resolve
from vega3d.store.format import FeatureFormat

STAGES = (0, 1, 2, 3)
FORMS = tuple(
    FeatureFormat(grid, precision) for grid in ("native", "pooled") for precision in ("bfloat16", "int8")
)
APART = 10_000  # source frames between two of the host's: room for the extra frames of a mode


@dataclass(frozen=True)
class Training:
    """Parameters and memory of a training recipe.

    Attributes:
        recipe: ``align`` trains projector and fusion, ``lora`` adapters of the language model too, ``full``
            the language model itself. Vision tower and generator are frozen in all of them.
        trained: number of trained parameters.
        frozen: number of frozen parameters of the host.
        memory: bytes on one GPU for weights, gradients and Adam's state, by ZeRO stage.
    """

    recipe: str
    trained: int
    frozen: int
    memory: dict[int, int]


@dataclass(frozen=True)
class ClipCost:
    """Costs of one clip.

    Attributes:
        mode: mode of the generator.
        frames: number of frames that the host gets.
        tokens: number of the host's tokens, visual ones and text.
        branch: cost of the generator.
        vision: operations of the host's vision tower.
        prefill: operations of the host's language model up to the first new token.
        stored: bytes of the clip's features, by grid and precision.
    """

    mode: str
    frames: int
    tokens: int
    branch: BackboneCost
    vision: float
    prefill: float
    stored: dict[str, dict[str, int]]

    @property
    def share(self) -> float:
        """Operations of the generator over those of the host, without those that serve all clips."""
        return sum(self.branch.flops.values()) / (self.vision + self.prefill)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types, with sums beside their parts."""
        cost = self.branch
        return {
            **{name: getattr(self, name) for name in ("mode", "frames", "tokens", "vision", "prefill")},
            "encoded": cost.encoded,
            "branch": {**cost.flops, "condition": cost.once, "total": cost.total},
            "memory": {"weights": cost.weights, **cost.moments, "peak": cost.peak},
            "stored": self.stored,
            "share": self.share,
        }


@dataclass(frozen=True)
class Estimate:
    """Costs of a host with a generator.

    Attributes:
        setup: the setup of the estimate, with the generator's width filled in.
        tower: height and width of the picture that the generator encodes, in pixels.
        grid: rows and columns of the host's tokens on a frame.
        parts: parameters and weights by part, in the precision that they run in.
        fusions: projector and gate of each built-in fusion, by name.
        training: costs of each training recipe.
        clips: costs of a clip for each mode and number of frames.
    """

    setup: Setup
    tower: tuple[int, int]
    grid: tuple[int, int]
    parts: tuple[Part, ...]
    fusions: dict[str, tuple[Part, Part]]
    training: tuple[Training, ...]
    clips: tuple[ClipCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types."""
        return {**dataclasses.asdict(self), "clips": [clip.to_dict() for clip in self.clips]}


def estimate(setup: Setup) -> Estimate:
    """Estimate the costs of a host with a generator.

    Raises:
        HostError: there is no such host.
        BackboneError: there are no such weights, or no such block.
        ConfigError: a mode does not fit the weights, or the settings do not describe their cost.
        InputError: the host's processor refuses a picture of that size.
    """
    host, config = empty_host(find_host(setup.host)), setup.generator()
    configs = _configs(config, setup.modes)
    clips = tuple(_clip(setup, config, host, count) for config in configs for count in setup.frames)
    first = clips[0].branch
    width = family_of(host).width(host.config)
    new = new_parts(setup.fusion, first.channels, width)
    config = dataclasses.replace(config if setup.modes else configs[0], channels=first.channels)
    return Estimate(
        setup=dataclasses.replace(setup, config=config),
        tower=first.picture,
        grid=hosts.host_clip(host, setup, 1).grid,
        parts=(*hosts.host_parts(host), *new, *first.parts),
        fusions={name: new_parts(FusionConfig(name), first.channels, width) for name in BUILT_IN["fusions"]},
        training=_training(setup, host, sum(part.parameters for part in new)),
        clips=clips,
    )


def _configs(config: Any, modes: tuple[str, ...]) -> list[Any]:
    """Settings in each of the modes; without modes, in the config's own or the first that fits."""
    fitting: tuple[str, ...] = config.modes() if hasattr(config, "modes") else ()
    if not fitting and modes in ((), ALL):
        return [config]
    for mode in () if modes == ALL else modes:
        if mode not in fitting:
            close = nearest(mode, fitting)
            expected = ", ".join(fitting) or f"no mode: {type(config).__name__} has none"
            fix = f"did you mean {close!r}?" if close else "--mode all, or other weights with --wan"
            title = f"Invalid mode {mode!r} for {config.path}."
            raise ConfigError(title, got=mode, expected=expected, fix=fix)
    default = config.mode if config.mode in fitting else fitting[0]
    asked = fitting if modes == ALL else modes or (default,)
    return [dataclasses.replace(config, mode=mode) for mode in asked]


def _clip(setup: Setup, config: Any, host: Any, frames: int) -> ClipCost:
    plan, of_host = frame_plan(config, range(0, frames * APART, APART)), hosts.host_clip(host, setup, frames)
    branch = clip_cost(config, setup.size[::-1], plan, setup.device)
    stored: dict[str, dict[str, int]] = {}
    for form in FORMS:
        stored.setdefault(form.grid, {})[form.precision] = stored_bytes(form, branch)
    return ClipCost(
        mode=getattr(config, "mode", "frame"),
        frames=frames,
        tokens=of_host.visual_tokens + of_host.text,
        branch=branch,
        vision=hosts.vision_flops(host, of_host),
        prefill=hosts.prefill_flops(host, of_host),
        stored=stored,
    )


def _training(setup: Setup, host: Any, new: int) -> tuple[Training, ...]:
    text, vision = (part.parameters for part in hosts.host_parts(host))
    lora = hosts.lora_parameters(host, setup.rank)
    recipes = {
        "align": (new, text + vision),
        "lora": (lora + new, text + vision),
        "full": (text + new, vision),
    }
    return tuple(
        Training(name, *counts, {stage: training_memory(*counts, stage, setup.gpus) for stage in STAGES})
        for name, counts in recipes.items()
    )


def new_parts(fusion: FusionConfig, channels: int, width: int) -> tuple[Part, Part]:
    """Count projector and fusion of a method, in float32.

    Args:
        fusion: the method and its hidden width.
        channels: C of the generator.
        width: D of the host.
    """
    kind = resolve("fusions", fusion.type)
    with torch.device("meta"):
        projector, gate = build(kind, width, fusion.hidden, channels)
    return Part.of("projector", projector), Part.of("fusion", gate)
