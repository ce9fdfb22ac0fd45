"""All settings of a wrapped model, as frozen dataclasses: validated when made, plain JSON on disk.

The settings of a frozen encoder are a dataclass of its own, beside its code. This module imports neither
torch nor transformers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vega3d._utils import checks, moved
from vega3d.settings import from_mapping

NoisePolicy = Literal["content", "shared"]
Schedule = Literal["exact", "released"]
DType = Literal["float32", "bfloat16"]
Branch = Literal["vsi", "3d"]
MarksSeen = Literal["host", "both"]

FREE = frozenset({"path", "revision", "channels", "micro_batch", "dtype", "residual_dtype", "attention"})
"""Settings of a frozen encoder that name its weights and how they are run, not what they compute."""

__getattr__ = moved.names(
    __name__,
    {
        "SiglipConfig": "vega3d.backbones.siglip.config:SiglipConfig",
        "WanConfig": "vega3d.backbones.wan.config:WanConfig",
    },
)


@dataclass(frozen=True)
class FusionConfig:
    """Fusion of generative tokens with the host's visual tokens.

    Attributes:
        type: name of a registered fusion. Built in: ``gated_residual`` (the default: starts as the
            identity), and the published forms ``paper`` (eq. 8), ``released_3d``, ``released_vsi``.
        hidden: width of the projector's hidden layer; None takes the fusion's own published width.
    """

    type: str = "gated_residual"
    hidden: int | None = None

    def __post_init__(self) -> None:
        checks.require_at_least(self, 1, "hidden")


@dataclass(frozen=True)
class HostConfig:
    """Host of a checkpoint; filled in by the adapter, checked when the checkpoint is loaded.

    Attributes:
        path: hub id or folder of the host, which is never copied; None if it is not filled in.
        revision: hub revision of ``path``; None for the main branch.
        model_type: the host's own ``config.model_type``.
        hidden_size: width D of the host's language model.
        digest: digest of the host's weights (``vega3d.checkpoint.host_digest``); None if not computable.
    """

    path: str | None = None
    revision: str | None = None
    model_type: str | None = None
    hidden_size: int | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Vega3DConfig:
    """Settings of a wrapped model: its generative branch, its fusion, its host.

    Attributes:
        backbone: settings of the frozen generator; ``WanConfig`` or a plug-in's own dataclass.
        fusion: settings of projector and fusion.
        semantic_streams: settings of further frozen encoders beside the host's own: ``SiglipConfig`` or
            a plug-in's dataclass.
        marks: receivers of marks that a message draws on pictures: ``host`` alone, so that the generator's
            features do not depend on them, or ``both``, as in the released code.
        host: identity of the host; filled in by the adapter.
    """

    backbone: Any = field(default_factory=lambda: _encoder({}))
    fusion: FusionConfig = field(default_factory=FusionConfig)
    semantic_streams: tuple[Any, ...] = ()
    marks: MarksSeen = "host"
    host: HostConfig = field(default_factory=HostConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "semantic_streams", tuple(self.semantic_streams))
        checks.require_choices(self)
        if isinstance(self.fusion, str):  # the short form: fusion="paper"
            object.__setattr__(self, "fusion", FusionConfig(type=self.fusion))

    @classmethod
    def reference(cls, branch: Branch = "vsi", **changes: Any) -> Vega3DConfig:
        """A released branch end to end: its picture, table, block, pooling and its fusion.

        Args:
            branch: ``vsi`` or ``3d``, see ``WanConfig.reference``.
            changes: fields of ``WanConfig``, for example ``path``.
        """
        from vega3d.registry import backbone_config_class

        backbone = backbone_config_class("wan").reference(branch, **changes)
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
            record: result of ``to_dict``.
            ignored: if given, unknown keys are dropped and their dotted names appended here
                (a file of a newer minor version); if None they are an error.

        Raises:
            ConfigError: a key is unknown, or a value is invalid.
        """
        parts = dict(record) if isinstance(record, Mapping) else {"config": record}
        parts["backbone"] = _encoder(parts.get("backbone", {}), "backbone.", ignored)
        parts["semantic_streams"] = [
            _encoder(stream, f"semantic_streams.{index}.", ignored)
            for index, stream in enumerate(parts.get("semantic_streams") or ())
        ]
        return from_mapping(cls, parts, ignored=ignored)


def _encoder(values: Any, prefix: str = "backbone.", ignored: list[str] | None = None) -> Any:
    """Settings of a frozen encoder, of the class that ``type`` names."""
    from vega3d.registry import backbone_config_class

    settings = dict(values)
    return from_mapping(backbone_config_class(settings.pop("type", "wan")), settings, prefix, ignored)
