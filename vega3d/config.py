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

from vega3d.errors import ConfigError, nearest, unknown_choice

Mode = Literal["frame"]
Picture = Literal["whole", "reference"]
NoisePolicy = Literal["content", "shared"]
Schedule = Literal["exact", "released"]
DType = Literal["float32", "bfloat16"]

PATCH = 16  # pixels of the picture that one DiT token covers on a side: VAE stride 8 x DiT patch 2


def _require(condition: bool, what: str, got: object, expected: str, fix: str) -> None:
    if not condition:
        raise ConfigError(what, got=repr(got), expected=expected, fix=fix)


def _require_choice(kind: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise unknown_choice(kind, value, choices)


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
        mode: ``frame`` encodes each frame as its own one-frame video (the released code).
        picture: ``whole`` resizes the whole picture with antialias, keeping its aspect;
            ``reference`` covers ``size`` and crops the centre, as the released code does.
        pixels: area aimed at by ``whole``, in pixels; about 832 x 480.
        max_tokens: upper limit of DiT tokens for one frame under ``whole``.
        size: tower width and height in pixels for ``reference``; multiples of 16.
        noise: ``content`` draws for each frame from (seed, its pixels); ``shared`` draws once for all.
        seed: seed of the noise.
        micro_batch: frames in one forward; None means 1 on CPU and 8 on GPU. Part of the
            fingerprint: the last micro-batch is padded, so that a feature never depends on its
            neighbours in a batch.
        dtype: precision of the DiT; the VAE always runs in float32.
    """

    path: str | None = None
    revision: str | None = None
    channels: int | None = None
    block: int = 20
    sigma: float = 0.3
    schedule: Schedule = "exact"
    mode: Mode = "frame"
    picture: Picture = "whole"
    pixels: int = 832 * 480
    max_tokens: int = 1600
    size: tuple[int, int] = (832, 480)
    noise: NoisePolicy = "content"
    seed: int = 0
    micro_batch: int | None = None
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))  # JSON gives a list
        _require_choice("mode", self.mode, get_args(Mode))
        _require_choice("picture", self.picture, get_args(Picture))
        _require_choice("noise", self.noise, get_args(NoisePolicy))
        _require_choice("schedule", self.schedule, get_args(Schedule))
        _require_choice("dtype", self.dtype, get_args(DType))
        _require(
            0.0 <= self.sigma <= 1.0,
            "sigma is outside [0, 1].",
            self.sigma,
            "a noise level of flow matching: 0 is the clean latent, 1 is pure noise",
            f"if you meant timestep {self.sigma:g} of 1000, pass sigma={self.sigma / 1000:g}",
        )
        _require(self.block >= 0, "block is negative.", self.block, "a zero-based index", "count from 0")
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
        _require(
            self.micro_batch is None or self.micro_batch >= 1,
            "micro_batch is not positive.",
            self.micro_batch,
            "a positive integer or None",
            "leave it at None",
        )

    @classmethod
    def reference(cls, **changes: Any) -> WanConfig:
        """The released code's settings: cropped 832 x 480 picture and the integer-truncated table."""
        return dataclasses.replace(cls(picture="reference", schedule="released"), **changes)


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
    """

    path: str | None = None
    revision: str | None = None
    model_type: str | None = None
    hidden_size: int | None = None


@dataclass(frozen=True)
class Vega3DConfig:
    """Everything that makes a wrapped model: its generative branch, its fusion, its host.

    Attributes:
        backbone: settings of the frozen generator; ``WanConfig`` or a plug-in's own dataclass.
        fusion: settings of projector and fusion.
        semantic_streams: further frozen encoders beside the host's; none is built in yet.
        host: filled in by the adapter.
    """

    backbone: Any = field(default_factory=WanConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    semantic_streams: tuple[Any, ...] = ()
    host: HostConfig = field(default_factory=HostConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "semantic_streams", tuple(self.semantic_streams))
        if isinstance(self.fusion, str):  # the short form: fusion="paper"
            object.__setattr__(self, "fusion", FusionConfig(type=self.fusion))
        _require(
            not self.semantic_streams,
            "semantic_streams is not empty.",
            self.semantic_streams,
            "(): this version has no second semantic encoder",
            "leave semantic_streams out",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; the backbone carries its registered name under ``type``."""
        from vega3d.registry import backbone_name

        record = dataclasses.asdict(self)
        record["backbone"] = {"type": backbone_name(self.backbone), **record["backbone"]}
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
        from vega3d.registry import backbone_config_class

        parts = dict(record)
        backbone = dict(parts.pop("backbone", {}))
        backbone_class = backbone_config_class(backbone.pop("type", "wan"))
        built = {
            "backbone": _build(backbone_class, backbone, "backbone.", ignored),
            "fusion": _build(FusionConfig, dict(parts.pop("fusion", {})), "fusion.", ignored),
            "host": _build(HostConfig, dict(parts.pop("host", {})), "host.", ignored),
        }
        return cls(**built, **_known(cls, parts, "", ignored))


def _known(cls: type, values: dict[str, Any], prefix: str, ignored: list[str] | None) -> dict[str, Any]:
    names = {entry.name for entry in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown and ignored is None:
        close = nearest(unknown[0], names)
        raise ConfigError(
            f"Unknown key {prefix + unknown[0]!r}.",
            got=", ".join(prefix + name for name in unknown),
            expected="one of " + ", ".join(sorted(names)),
            fix=f"did you mean {prefix + close!r}?" if close else "remove it",
        )
    if ignored is not None:
        ignored.extend(prefix + name for name in unknown)
    return {name: value for name, value in values.items() if name in names}


def _build(cls: type, values: dict[str, Any], prefix: str, ignored: list[str] | None) -> Any:
    return cls(**_known(cls, values, prefix, ignored))
