"""Settings of a frozen Wan2.1, with the frame plans and costs that they determine. Imports no torch.

The defaults are the paper's (arXiv 2603.19235, sec. 3 and 5: Wan2.1-T2V 1.3B, block 20, sigma = 0.30, empty
prompt), except that the whole picture is encoded instead of a centre crop, and that noise is seeded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from vega3d._utils import checks, moved
from vega3d.backbones.base import BackboneCost, Device, micro_batch
from vega3d.config import Branch, DType, NoisePolicy, Schedule
from vega3d.errors import BackboneError, ConfigError
from vega3d.media.frame_plan import FramePlan

Mode = Literal["frame", "window", "joint", "clip", "vace_no_reference", "vace_reference"]
Resize = Literal["fit", "center_crop"]
ResidualDType = Literal["float32", "model"]
MODES: tuple[Mode, ...] = get_args(Mode)
# Modes in which the VAE encodes a chunk as a video; in the others it encodes single frames.
AS_VIDEO: tuple[Mode, ...] = ("window", "clip")

# Modes in which a forward of the DiT has many tokens, so that one video at a time is the default.
LONG: tuple[Mode, ...] = ("window", "joint", "clip")

PATCH = 16  # pixels of the picture that one DiT token covers on a side: VAE stride 8 x DiT patch 2

RENAMES = moved.Renames(
    {
        "picture": "resize",
        "between": "extra_frames",
        "length": "max_latent_frames",
        "draws": "noise_samples",
        "residual": "residual_dtype",
    },
    gone=("shortcuts", "match"),
    values={"resize": {"whole": "fit", "reference": "center_crop"}},
)
_HASHED_SHORTCUTS = ("stop", "plane", "constants", "pad_key", "one_token", "encodes")
_USED_IN = {
    "window": {"window"},
    "joint": {"max_latent_frames"},
    "clip": {"max_latent_frames", "extra_frames"},
}
_USED_BY = {"fit": {"pixels", "max_tokens"}, "center_crop": {"size"}}


@moved.fields(RENAMES)
@dataclass(frozen=True)
class WanConfig:
    """Settings of a frozen Wan2.1 as an encoder of frames.

    Attributes:
        path: diffusers folder, original Wan folder, or hub id of the weights. Never copied.
        revision: hub revision of ``path``.
        channels: width C of the DiT. None takes it from the loaded weights; it is needed only without them.
        block: zero-based DiT block whose output (the residual stream after it) is the feature.
        sigma: noise level of flow matching, z = (1 - sigma) z0 + sigma eps, in 0..1.
        schedule: clock of the noise level. ``exact`` uses sigma as given with timestep 1000 sigma.
            ``released`` takes both from the integer-truncated table of the released code (0.3 becomes
            t = 299, 0.299923837).
        mode: unit of encoding. ``frame``: each frame as a one-frame video (the released code). ``window``: a
            micro-clip that ends at the frame, whose last latent is kept. ``joint``: the latents of all single
            frames under one attention. ``clip``: the frames as one video. ``vace_no_reference`` and
            ``vace_reference`` (with the clip's first frame): each frame as the control of a Wan2.1-VACE.
        window: frames of a micro-clip in mode ``window``: 5, 9, ... (1 + 4k).
        extra_frames: source frames encoded between two of the host's in mode ``clip``.
        max_latent_frames: largest number of latent frames in one forward in modes ``joint`` and ``clip``. 21
            are 81 frames, the length that Wan2.1 was trained on. Longer clips are split into equal parts.
        resize: ``fit`` resizes the whole picture with antialias, keeping its aspect; ``center_crop`` covers
            ``size`` and crops the centre, as the released code does.
        pixels: target area under ``fit``, in pixels; the default is that of 832 x 480.
        max_tokens: upper limit of DiT tokens for one frame under ``fit``.
        size: tower width and height in pixels for ``center_crop``; multiples of 16.
        pool: number of cells on a side that the map is first averaged to, as in the released 3-D branch (14);
            None keeps every token.
        noise: ``content`` draws for each video from (seed, its pixels); ``shared`` draws once for all.
        seed: seed of the noise.
        noise_samples: number of draws of the noise; the feature is the mean over them.
        micro_batch: videos in one forward; None means 1 on CPU, and 8 on GPU (1 for ``window``, ``joint`` and
            ``clip``). It is part of the fingerprint. The last micro-batch is padded, so that a feature never
            depends on its neighbours in a batch.
        dtype: precision of the DiT; the VAE always runs in float32.
        residual_dtype: precision of the DiT's residual stream under bfloat16: ``float32`` as the released
            code runs it, ``model`` as diffusers does.
        attention: back end of the DiT's self attention by diffusers' name (``native``, ``flash``, ...);
            None takes diffusers' default.
    """

    path: str | None = None
    revision: str | None = None
    channels: int | None = None
    block: int = 20
    sigma: float = 0.3
    schedule: Schedule = "exact"
    mode: Mode = "frame"
    window: int = 5
    extra_frames: int = 0
    max_latent_frames: int = 21
    resize: Resize = "fit"
    pixels: int = 832 * 480
    max_tokens: int = 1600
    size: tuple[int, int] = (832, 480)
    pool: int | None = None
    noise: NoisePolicy = "content"
    seed: int = 0
    noise_samples: int = 1
    micro_batch: int | None = None
    dtype: DType = "float32"
    residual_dtype: ResidualDType = "float32"
    attention: str | None = None

    needs_host_grid: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))  # JSON gives a list
        require_resize(self.resize)
        checks.require_choices(self)
        checks.require_at_least(self, 0, "extra_frames")
        checks.require_at_least(self, 1, "max_latent_frames", "noise_samples", "pool", "micro_batch")
        checks.require_sigma(self.sigma)
        title, expected = f"Invalid block {self.block}: it is negative.", "a zero-based index"
        checks.require(self.block >= 0, title, self.block, expected, "count from 0")
        title = f"Invalid window {self.window}: not the length of a micro-clip."
        expected = "5, 9, 13, ... (1 + 4k): any other length would silently lose its last frames in the VAE"
        fix = "use 5 or 9; mode='frame' is a window of 1"
        checks.require(self.window >= 5 and self.window % 4 == 1, title, self.window, expected, fix)
        budget = {"pixels": self.pixels, "max_tokens": self.max_tokens}
        expected = f"pixels >= {PATCH * PATCH} and max_tokens >= 1"
        is_enough = self.max_tokens >= 1 and self.pixels >= PATCH * PATCH
        checks.require(is_enough, "Invalid picture budget.", budget, expected, "leave both at their defaults")
        fits = len(self.size) == 2 and all(side >= PATCH and side % PATCH == 0 for side in self.size)
        title, expected = f"Invalid size {self.size}.", f"(width, height), both multiples of {PATCH}"
        checks.require(fits, title, self.size, expected, "round both, for example (832, 480)")

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of an earlier version as those of this one; called by the reader before it checks them."""
        settings = moved.current(WanConfig, record)
        require_resize(settings.get("resize"))
        return settings

    @classmethod
    def reference(cls, branch: Branch = "vsi", **changes: Any) -> WanConfig:
        """Settings that a released branch runs with: cropped picture, truncated table.

        Args:
            branch: ``vsi`` (Qwen2.5-VL): 832 x 480 and, as its scripts never set the block, the last one
                of the 1.3B model, 29. ``3d`` (LLaVA-Video): 1280 x 720, block 20, pooled to 14 x 14.
            changes: other fields.
        """
        checks.require_choice("branch", branch, get_args(Branch))
        released = {"block": 29} if branch == "vsi" else {"size": (1280, 720), "pool": 14}
        return cls(**{"resize": "center_crop", "schedule": "released", **released, **changes})

    def frame_plan(self, host_frames: Sequence[int]) -> FramePlan:
        """Plan the frames to encode in the config's mode, and their chunks.

        Args:
            host_frames: source frame numbers that the host gets, in order.
        """
        if self.mode == "window":
            return FramePlan.windows(host_frames, self.window)
        if self.mode == "joint":
            return FramePlan.together(host_frames, self.max_latent_frames)
        if self.mode == "clip":
            return FramePlan.together(host_frames, 4 * self.max_latent_frames - 3, self.extra_frames)
        if self.mode == "vace_reference":
            return FramePlan.beside_first(host_frames)
        return FramePlan.per_frame(host_frames)

    def dit_batch(self, device: str) -> int:
        """Videos in one forward of the DiT."""
        return 1 if self.mode in LONG and self.micro_batch is None else micro_batch(self, device)

    def modes(self) -> tuple[Mode, ...]:
        """Modes that the weights at ``path`` can run, the default first.

        Raises:
            BackboneError: there is no Wan at ``path``.
        """
        from vega3d.backbones.wan.shapes import find_wan

        is_vace = bool(find_wan(self.path)[0].get("vace_layers"))
        return tuple(mode for mode in MODES if mode.startswith("vace") == is_vace)

    def cost(self, size: tuple[int, int], frames: int | FramePlan, device: Device = "cuda") -> BackboneCost:
        """Cost of one clip, from the configuration of the weights at ``path`` alone.

        Args:
            size: height and width of the decoded frames.
            frames: number of frames that the host gets of a video, or the plan of the clip.
            device: kind of device; it sets the default micro-batch.

        Raises:
            BackboneError: there is no Wan at ``path``, it has no such block, or the mode does not fit it.
        """
        from vega3d.backbones.wan.cost import clip_cost

        return clip_cost(self, size, frames, device)

    def hashed(self) -> dict[str, Any]:
        """Settings that determine a feature, under the names of version 0.1.

        The fingerprint hashes them, so that features of 0.1 and of later versions are the same. This map is
        frozen: a later setting is added only if it differs from its default.
        """
        used = _USED_IN.get(self.mode, set()) | _USED_BY[self.resize]
        optional = set().union(*_USED_IN.values(), *_USED_BY.values())
        idle = {"path", "revision", "micro_batch", *(optional - used)}
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in idle}
        for old, new in RENAMES.renamed.items():
            if new in values:
                values[old] = values.pop(new)
        old_values = {new: old for old, new in RENAMES.values["resize"].items()}
        values["picture"] = old_values[values["picture"]]
        return {**values, "shortcuts": _HASHED_SHORTCUTS}


def require_resize(resize: object) -> None:
    """Refuse a value of ``resize`` that only version 0.1 reads.

    Raises:
        ConfigError: the value is ``matched``.
    """
    if resize == "matched":
        title = "Invalid picture 'matched': version 0.1 of vega3d is the last one that reads it."
        rebuild = "rebuild a store of such features: vega3d cache build NEW_STORE ANNOTATIONS --backbone NAME"
        fix = f"set resize='fit' (pixels=... makes it smaller), and {rebuild}"
        raise ConfigError(title, got="picture='matched'", expected=", ".join(get_args(Resize)), fix=fix)


def require_block(block: int, layers: int, where: str) -> None:
    """Refuse a block that a transformer of so many layers, read or loaded, does not have.

    Raises:
        BackboneError: the block does not exist.
    """
    if not 0 <= block < layers:
        title = f"Invalid block {block}: it does not exist in {where}."
        expected, fix = f"a zero-based index in 0..{layers - 1}", f"block={layers - 1} is the last one"
        raise BackboneError(title, got=f"block={block}", expected=expected, fix=fix)
