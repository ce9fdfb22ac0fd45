"""All settings of a wrapped model, as frozen dataclasses: validated when made, plain JSON on disk.

The defaults are the paper's (arXiv 2603.19235, sec. 3 and 5: Wan2.1-T2V 1.3B, block 20, sigma = 0.30,
empty prompt), except where ARCHITECTURE of this library departs from the released code on purpose:
the whole picture instead of a centre crop, seeded noise, and a fusion that starts as the identity.

This module knows neither torch nor transformers, and not what any setting does; it only knows
which values make sense.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from vega3d.errors import ConfigError, unknown_choice
from vega3d.settings import from_mapping

Mode = Literal["frame", "window", "joint", "clip", "vace_no_reference", "vace_reference"]
Picture = Literal["whole", "reference"]
NoisePolicy = Literal["content", "shared"]
Schedule = Literal["exact", "released"]
DType = Literal["float32", "bfloat16"]
Residual = Literal["float32", "model"]
Shortcut = Literal["stop", "plane", "constants", "pad_key", "one_token", "encodes"]
Branch = Literal["vsi", "3d"]
MarksSeen = Literal["host", "both"]

FREE = frozenset(
    {"path", "revision", "channels", "micro_batch", "dtype", "residual", "attention", "shortcuts"}
)
"""Settings of a frozen encoder that say where its weights lie and how they are run, not what they compute."""

GONE = frozenset({"match"})
"""Settings of version 0.1 that have no effect any more: ignored where a file holds them."""

PATCH = 16  # pixels of the picture that one DiT token covers on a side: VAE stride 8 x DiT patch 2


def _require(condition: bool, what: str, got: object, expected: str, fix: str) -> None:
    if not condition:
        raise ConfigError(what, got=repr(got), expected=expected, fix=fix)


def _require_choice(kind: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown_choice(kind, value, choices)


def require_picture(picture: object) -> None:
    """Refuse a value of ``picture`` that only version 0.1 reads.

    Raises:
        ConfigError: it is ``matched``.
    """
    if picture == "matched":
        raise ConfigError(
            "Invalid picture 'matched': version 0.1 of vega3d is the last one that reads it.",
            got="picture='matched'",
            expected=", ".join(get_args(Picture)),
            fix="set picture='whole' (pixels=... makes it smaller), and rebuild a store of such features: "
            "vega3d cache build NEW_STORE ANNOTATIONS --backbone NAME",
        )


@dataclass(frozen=True)
class WanConfig:
    """How a frozen Wan2.1 is run to get one feature map for each frame.

    Attributes:
        path: diffusers folder, original Wan folder, or hub id of the weights. Never copied.
        revision: hub revision of ``path``.
        channels: width C of the DiT; filled in from the loaded weights, needed only without them.
        block: zero-based DiT block whose output (the residual stream after it) is the feature.
        sigma: noise level of flow matching, z = (1 - sigma) z0 + sigma eps, in 0..1.
        schedule: ``exact`` uses sigma as given with timestep 1000 sigma; ``released`` looks both up
            in the integer-truncated table of the released code (0.3 becomes t = 299, 0.299923837).
        mode: ``frame`` encodes each frame as its own one-frame video (the released code); ``window`` a
            micro-clip that ends at it and keeps the last latent; ``joint`` all frames' own latents under one
            attention; ``clip`` the frames as one video; ``vace_no_reference`` and ``vace_reference`` (with
            the clip's first frame) each frame as the control of a Wan2.1-VACE.
        window: frames of a micro-clip in mode ``window``: 5, 9, ... (1 + 4k).
        between: mode ``clip``: frames of the source that the generator also sees between two of the host's.
        length: modes ``joint`` and ``clip``: most latent frames in one forward; 21 are 81 frames, the
            length that Wan2.1 was trained on. Longer clips are split into equal parts.
        picture: ``whole`` resizes the whole picture with antialias, keeping its aspect; ``reference`` covers
            ``size`` and crops the centre, as the released code does.
        pixels: area aimed at by ``whole``, in pixels; about 832 x 480.
        max_tokens: upper limit of DiT tokens for one frame under ``whole``.
        size: tower width and height in pixels for ``reference``; multiples of 16.
        pool: average the map to pool x pool cells before anything else, as the released 3-D branch does
            (14); None keeps every token.
        noise: ``content`` draws for each video from (seed, its pixels); ``shared`` draws once for all.
        seed: seed of the noise.
        draws: the feature is the mean over so many draws of the noise.
        micro_batch: videos in one forward; None means 1 on CPU and 8 on GPU (1 for ``joint`` and ``clip``).
            Part of the fingerprint: the last micro-batch is padded, so that a feature never depends on
            its neighbours in a batch.
        dtype: precision of the DiT; the VAE always runs in float32.
        residual: precision of the DiT's residual stream under bfloat16: ``float32`` as the released code
            runs it, ``model`` as diffusers does.
        attention: back end of the DiT's self attention by diffusers' name (``native``, ``flash``, ...);
            None takes diffusers' default.
        shortcuts: exact ways to do less work, all on by default; see ``docs/branch.md``. ``stop`` after the
            block, ``plane``: the one-frame VAE as 2-D convolutions, ``constants``: text keys, modulation and
            positions once, ``pad_key``: the identical padding keys as one, ``one_token``: closed form of
            cross attention for a prompt of one token, ``encodes``: VACE encodes nothing twice.
    """

    path: str | None = None
    revision: str | None = None
    channels: int | None = None
    block: int = 20
    sigma: float = 0.3
    schedule: Schedule = "exact"
    mode: Mode = "frame"
    window: int = 5
    between: int = 0
    length: int = 21
    picture: Picture = "whole"
    pixels: int = 832 * 480
    max_tokens: int = 1600
    size: tuple[int, int] = (832, 480)
    pool: int | None = None
    noise: NoisePolicy = "content"
    seed: int = 0
    draws: int = 1
    micro_batch: int | None = None
    dtype: DType = "float32"
    residual: Residual = "float32"
    attention: str | None = None
    shortcuts: tuple[Shortcut, ...] = get_args(Shortcut)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))  # JSON gives a list
        object.__setattr__(self, "shortcuts", tuple(self.shortcuts))
        require_picture(self.picture)
        for name, choices in _CHOICES.items():
            _require_choice(name, getattr(self, name), get_args(choices))
        for shortcut in self.shortcuts:
            _require_choice("shortcut", shortcut, get_args(Shortcut))
        _require(
            0.0 <= self.sigma <= 1.0,
            "sigma is outside [0, 1].",
            self.sigma,
            "a noise level of flow matching: 0 is the clean latent, 1 is pure noise",
            f"if you meant timestep {self.sigma:g} of 1000, pass sigma={self.sigma / 1000:g}",
        )
        _require(self.block >= 0, "block is negative.", self.block, "a zero-based index", "count from 0")
        _require(
            self.window >= 5 and self.window % 4 == 1,
            "window is no length of a micro-clip.",
            self.window,
            "5, 9, 13, ... (1 + 4k): any other length would silently lose its last frames in the VAE",
            "use 5 or 9; mode='frame' is a window of 1",
        )
        _require(self.between >= 0, "between is negative.", self.between, "0 or more frames", "use 0")
        _require(
            self.max_tokens >= 1 and self.pixels >= PATCH * PATCH,
            "The picture budget is empty.",
            (self.pixels, self.max_tokens),
            f"pixels >= {PATCH * PATCH} and max_tokens >= 1",
            "leave both at their defaults",
        )
        _require(
            len(self.size) == 2 and all(side >= PATCH and side % PATCH == 0 for side in self.size),
            "size does not fit the tower.",
            self.size,
            f"(width, height), both multiples of {PATCH}",
            f"round both to multiples of {PATCH}, for example (832, 480)",
        )
        for name in ("length", "draws", "pool", "micro_batch"):
            value = getattr(self, name)
            _require(
                value is None or value >= 1, f"{name} is not positive.", value, "1 or more", "leave it out"
            )

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of an earlier version as those of this one; called by the reader before it checks them."""
        require_picture(record.get("picture"))
        return {name: value for name, value in record.items() if name not in GONE}

    @classmethod
    def reference(cls, branch: Branch = "vsi", **changes: Any) -> WanConfig:
        """The settings that a released branch really runs with: cropped picture, truncated table.

        Args:
            branch: ``vsi`` (Qwen2.5-VL): 832 x 480 and, as its scripts never set the block, the last one
                of the 1.3B model, 29. ``3d`` (LLaVA-Video): 1280 x 720, block 20, pooled to 14 x 14.
            changes: other fields.
        """
        _require_choice("branch", branch, get_args(Branch))
        own = {"block": 29} if branch == "vsi" else {"size": (1280, 720), "pool": 14}
        return cls(**{"picture": "reference", "schedule": "released", **own, **changes})


_CHOICES = {
    "mode": Mode,
    "picture": Picture,
    "noise": NoisePolicy,
    "schedule": Schedule,
    "dtype": DType,
    "residual": Residual,
}


@dataclass(frozen=True)
class SiglipConfig:
    """How a frozen SigLIP or SigLIP 2 vision tower is run as a second semantic stream.

    Attributes:
        path: folder or hub id, for example ``google/siglip-so400m-patch14-384``. Never copied.
        revision: hub revision of ``path``.
        channels: width C of the tower; filled in from the loaded weights, needed only without them.
        layer: hidden state that is the feature: -1 is the last one with the final norm, -2 the one before
            the last block without it (LLaVA's choice), and so on.
        micro_batch: frames in one forward; None means 1 on CPU and 8 on GPU. The last one is padded.
        dtype: precision of the tower.
    """

    path: str | None = None
    revision: str | None = None
    channels: int | None = None
    layer: int = -1
    micro_batch: int | None = None
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        _require_choice("dtype", self.dtype, get_args(DType))
        _require(self.layer <= -1, "layer does not count from the end.", self.layer, "-1, -2, ...", "use -1")
        _require(
            self.micro_batch is None or self.micro_batch >= 1,
            "micro_batch is not positive.",
            self.micro_batch,
            "a positive integer or None",
            "leave it at None",
        )


@dataclass(frozen=True)
class FusionConfig:
    """How generative tokens meet the host's visual tokens.

    Attributes:
        type: name of a registered fusion. Built in: ``gated_residual`` (the default: starts as the
            identity), and the published forms ``paper`` (eq. 8), ``released_3d``, ``released_vsi``.
        hidden: width of the projector's hidden layer; None takes the fusion's own published width.
    """

    type: str = "gated_residual"
    hidden: int | None = None

    def __post_init__(self) -> None:
        _require(
            self.hidden is None or self.hidden >= 1,
            "The projector's hidden width is not positive.",
            self.hidden,
            "a positive integer or None",
            "leave it at None",
        )


@dataclass(frozen=True)
class HostConfig:
    """Which host a checkpoint belongs to; filled in by the adapter, checked when it is loaded.

    Attributes:
        path: hub id or folder of the host. Never copied.
        revision: hub revision of ``path``.
        model_type: the host's own ``config.model_type``.
        hidden_size: width D of the host's language model.
        digest: of the host's checkpoint, see ``vega3d.host_digest``; None where it cannot be computed.
    """

    path: str | None = None
    revision: str | None = None
    model_type: str | None = None
    hidden_size: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Vega3DConfig:
    """Everything that makes a wrapped model: its generative branch, its fusion, its host.

    Attributes:
        backbone: settings of the frozen generator; ``WanConfig`` or a plug-in's own dataclass.
        fusion: settings of projector and fusion.
        semantic_streams: settings of further frozen encoders beside the host's own: ``SiglipConfig`` or
            a plug-in's dataclass.
        marks: who sees what a message draws on pictures: ``host``, so that the generator's features do not
            depend on it, or ``both``, as in the released code.
        host: filled in by the adapter.
    """

    backbone: Any = field(default_factory=WanConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    semantic_streams: tuple[Any, ...] = ()
    marks: MarksSeen = "host"
    host: HostConfig = field(default_factory=HostConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "semantic_streams", tuple(self.semantic_streams))
        _require_choice("marks", self.marks, get_args(MarksSeen))
        if isinstance(self.fusion, str):  # the short form: fusion="paper"
            object.__setattr__(self, "fusion", FusionConfig(type=self.fusion))

    @classmethod
    def reference(cls, branch: Branch = "vsi", **changes: Any) -> Vega3DConfig:
        """A released branch end to end: its picture, table, block, pooling and its fusion.

        Args:
            branch: ``vsi`` or ``3d``, see ``WanConfig.reference``.
            changes: fields of ``WanConfig``, for example ``path``.
        """
        backbone = WanConfig.reference(branch, **changes)
        return cls(backbone=backbone, fusion=FusionConfig(type=f"released_{branch}"), marks="both")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; each frozen encoder carries its registered name under ``type``."""
        from vega3d.registry import backbone_record

        record = dataclasses.asdict(self)
        record["backbone"] = backbone_record(self.backbone)
        record["semantic_streams"] = [backbone_record(stream) for stream in self.semantic_streams]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], ignored: list[str] | None = None) -> Vega3DConfig:
        """Inverse of ``to_dict``.

        Args:
            record: what ``to_dict`` gave.
            ignored: if given, unknown keys are dropped and their dotted names appended here
                (a file of a newer minor version); if None they are an error.

        Raises:
            ConfigError: a key is unknown, or a value makes no sense.
        """
        parts = dict(record) if isinstance(record, Mapping) else {"config": record}
        parts["backbone"] = _encoder(parts.get("backbone", {}), "backbone.", ignored)
        parts["semantic_streams"] = [
            _encoder(stream, f"semantic_streams.{at}.", ignored)
            for at, stream in enumerate(parts.get("semantic_streams") or ())
        ]
        return from_mapping(cls, parts, ignored=ignored)


def _encoder(values: Any, place: str, ignored: list[str] | None) -> Any:
    """Settings of a frozen encoder, of the class that ``type`` names."""
    from vega3d.registry import backbone_config_class

    settings = dict(values)
    return from_mapping(backbone_config_class(settings.pop("type", "wan")), settings, place, ignored)
