"""Puts the parts together: one setup in, one estimate out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from vega3d import registry
from vega3d.backbones.wan import picture
from vega3d.backbones.wan.flops import DitShape, VaeShape, WanFlops, wan_flops, work_of
from vega3d.config import PATCH, FusionConfig, Mode, WanConfig
from vega3d.errors import ConfigError
from vega3d.estimate.host import HostClip, host_clip, prefill_flops, vision_flops
from vega3d.estimate.memory import BranchMemory, branch_memory, training_memory
from vega3d.estimate.parameters import Part, empty_host, host_parts, lora_parameters, new_parts, wan_parts
from vega3d.estimate.setup import Setup
from vega3d.estimate.shapes import WanShape, find_host, find_wan
from vega3d.store.format import FeatureFormat

Recipe = Literal["align", "lora", "full"]
STAGES = (0, 1, 2, 3)
FORMS = tuple(
    FeatureFormat(grid, precision) for grid in ("native", "pooled") for precision in ("bfloat16", "int8")
)


@dataclass(frozen=True)
class Training:
    """What a recipe trains.

    Attributes:
        recipe: ``align`` trains projector and fusion, ``lora`` adapters of the language model too, ``full``
            the language model itself. Vision tower and generator are frozen in all of them.
        trained: number of trained parameters.
        frozen: number of frozen ones of the host.
        memory: for each ZeRO stage, bytes on one GPU for weights, gradients and Adam's state.
    """

    recipe: Recipe
    trained: int
    frozen: int
    memory: dict[int, int]


@dataclass(frozen=True)
class ClipCost:
    """What one clip costs.

    Attributes:
        mode: of the generator.
        frames: that the host sees.
        encoded: frames that the VAE encodes, repeated ones included.
        tokens: of the host, visual ones and text.
        branch: operations of the generator, by part.
        memory: of the generator.
        vision: operations of the host's vision tower.
        prefill: operations of the host's language model up to the first new token.
        stored: bytes of the clip's features, for each grid and precision.
    """

    mode: Mode
    frames: int
    encoded: int
    tokens: int
    branch: WanFlops
    memory: BranchMemory
    vision: float
    prefill: float
    stored: dict[str, dict[str, int]]

    @property
    def share(self) -> float:
        """Operations of the generator for one of the host's, without those that serve all clips at once."""
        return (self.branch.total - self.branch.condition) / (self.vision + self.prefill)


@dataclass(frozen=True)
class Estimate:
    """Costs of a host with a generator.

    Attributes:
        setup: what was asked.
        tower: height and width of the picture that the generator sees, in pixels.
        grid: rows and columns of the host's tokens on a frame.
        parts: parameters and weights by part, as they run.
        fusions: for each built-in fusion, its projector and its gate.
        training: by recipe.
        clips: by mode and number of frames.
    """

    setup: Setup
    tower: tuple[int, int]
    grid: tuple[int, int]
    parts: tuple[Part, ...]
    fusions: dict[str, tuple[Part, Part]]
    training: tuple[Training, ...]
    clips: tuple[ClipCost, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; sums that a reader would want stand beside their parts."""
        record = dataclasses.asdict(self)
        for clip, own in zip(self.clips, record["clips"], strict=True):
            own["branch"]["total"] = clip.branch.total
            own["memory"]["peak"] = clip.memory.peak
            own["share"] = clip.share
        return record


def estimate(setup: Setup) -> Estimate:
    """Costs of a host with a Wan.

    Raises:
        HostError: there is no such host.
        BackboneError: there is no such Wan, or no such block.
        ConfigError: a mode does not fit the Wan.
        InputError: a picture of that size cannot be had.
    """
    shape, host = find_wan(setup.wan), empty_host(find_host(setup.host))
    config = setup.config
    if not setup.modes and shape.is_vace and not config.mode.startswith("vace"):
        config = dataclasses.replace(config, mode="vace_no_reference")
    grid = _seen(setup, host, 1).grid
    tower = picture.tower_size(setup.size[1], setup.size[0], config)
    channels, width = DitShape.from_diffusers(shape.transformer).channels, _width(host)
    branch, new = wan_parts(shape, config), new_parts(setup.fusion, channels, width)
    weights = sum(part.size for part in branch)
    return Estimate(
        setup=dataclasses.replace(setup, config=dataclasses.replace(config, channels=channels)),
        tower=tower,
        grid=grid,
        parts=(*host_parts(host), *new, *branch),
        fusions={
            name: new_parts(FusionConfig(name), channels, width) for name in registry.BUILT_IN["fusions"]
        },
        training=_training(setup, host, sum(part.parameters for part in new)),
        clips=tuple(
            _clip(setup, _in_mode(config, mode, shape), shape, tower, weights, host, count)
            for mode in setup.modes or (config.mode,)
            for count in setup.frames
        ),
    )


def _width(host: Any) -> int:
    return int(host.config.get_text_config().hidden_size)


def _seen(setup: Setup, host: Any, frames: int) -> HostClip:
    width, height = setup.size
    return host_clip(
        host, height, width, frames, medium=setup.medium, text=setup.text, max_pixels=setup.max_pixels
    )


def _in_mode(config: WanConfig, mode: Mode, shape: WanShape) -> WanConfig:
    if mode.startswith("vace") != shape.is_vace:
        raise ConfigError(
            f"Mode {mode!r} does not fit {shape.name}.",
            got="a VACE" if shape.is_vace else "a text-to-video Wan",
            expected="vace_no_reference or vace_reference"
            if shape.is_vace
            else "frame, window, joint or clip",
            fix="--mode all takes those that fit, or name the other kind with --wan",
        )
    return dataclasses.replace(config, mode=mode)


def fitting_modes(modes: tuple[Mode, ...], wan: str) -> tuple[Mode, ...]:
    """Those of ``modes`` that a Wan has.

    Raises:
        BackboneError: there is no such Wan.
    """
    is_vace = find_wan(wan).is_vace
    return tuple(mode for mode in modes if mode.startswith("vace") == is_vace)


def _clip(
    setup: Setup,
    config: WanConfig,
    shape: WanShape,
    tower: tuple[int, int],
    weights: int,
    host: Any,
    frames: int,
) -> ClipCost:
    seen = _seen(setup, host, frames)
    dit, vae = DitShape.from_diffusers(shape.transformer), VaeShape.from_diffusers(shape.vae)
    given = frames + config.between * (frames - 1) * (config.mode == "clip")
    work = work_of(config, given)
    return ClipCost(
        mode=config.mode,
        frames=frames,
        encoded=sum(work.encodes),
        tokens=seen.visual_tokens + seen.text,
        branch=wan_flops(config, dit, vae, *tower, given),
        memory=branch_memory(config, dit, vae, *tower, given, weights=weights, device=setup.device),
        vision=vision_flops(host, seen),
        prefill=prefill_flops(host, seen),
        stored=_stored(config, work.steps, dit.channels, tower),
    )


def _stored(
    config: WanConfig, steps: int, channels: int, tower: tuple[int, int]
) -> dict[str, dict[str, int]]:
    """Bytes of a clip's features by grid and precision."""
    native = (config.pool, config.pool) if config.pool else (tower[0] // PATCH, tower[1] // PATCH)
    found: dict[str, dict[str, int]] = {}
    for form in FORMS:
        cells = native if form.grid == "native" else (form.cells, form.cells)
        found.setdefault(form.grid, {})[form.precision] = steps * form.bytes_per_frame(channels, *cells)
    return found


def _training(setup: Setup, host: Any, new: int) -> tuple[Training, ...]:
    text, vision = (part.parameters for part in host_parts(host))
    lora = lora_parameters(host, setup.rank)
    recipes: tuple[tuple[Recipe, int, int], ...] = (
        ("align", new, text + vision),
        ("lora", lora + new, text + vision),
        ("full", text + new, vision),
    )
    return tuple(
        Training(
            name,
            trained,
            frozen,
            {stage: training_memory(trained, frozen, stage, setup.gpus) for stage in STAGES},
        )
        for name, trained, frozen in recipes
    )
