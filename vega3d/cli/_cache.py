"""Shared parts of ``vega3d cache``: rows, settings, generator, and messages."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from vega3d._utils.progress import tracked

if TYPE_CHECKING:
    from vega3d.backbones import Backbone
    from vega3d.cache import EncodeJob, Problem
    from vega3d.config import Vega3DConfig
    from vega3d.data import Row
    from vega3d.errors import Vega3DError
    from vega3d.store import FeatureStore
    from vega3d.store.feature_store import Damage

SAMPLING = ("nframes", "fps", "min_frames", "max_frames", "min_pixels", "max_pixels")
HOST_IGNORED = "--host is ignored: no stored form depends on a host. The option goes with version 0.3."
SHOWN = 20  # problems that are listed


def require_media(arguments: argparse.Namespace) -> None:
    """Refuse a command without media, before anything is written.

    Raises:
        ConfigError: neither annotations nor media.
    """
    from vega3d.errors import ConfigError

    if not arguments.annotations and not arguments.media:
        raise ConfigError(
            "Missing media: annotation files or --media.",
            got="no annotation file and no --media",
            expected="at least one of them",
            fix="vega3d cache ... train.json, or --media a.mp4 b.mp4",
        )


def rows_of(arguments: argparse.Namespace) -> Iterator[Row | Vega3DError]:
    """Rows of the annotation files and of the media that the options name; a bad row as its error."""
    from vega3d.data import media_rows, tried_rows

    defaults = {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
    trust = {"allow_urls": arguments.allow_urls, "allow_outside": arguments.allow_outside}
    for file in arguments.annotations:
        yield from tried_rows(file, arguments.root, defaults, **trust)
    yield from media_rows(arguments.media, defaults)


def asked_by(
    arguments: argparse.Namespace, settings: Any, identity: Any
) -> tuple[list[Problem], list[EncodeJob]]:
    """Media that cannot be used, and the jobs that the options ask for.

    Args:
        arguments: options of the command.
        settings: settings of the generator.
        identity: policy by which files are identified; None reads no files.
    """
    from vega3d.cache import EncodeJob, JobPlanner, Problem

    if arguments.host is not None:
        warnings.warn(HOST_IGNORED, FutureWarning, stacklevel=2)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    planner = JobPlanner(settings, identity, rank, world, marks=arguments.marks)
    rows = planner.of(rows_of(arguments))
    planned = [entry for row in tracked(rows, "reading", "row") for entry in row]
    problems = [entry for entry in planned if isinstance(entry, Problem)]
    return problems, [entry for entry in planned if isinstance(entry, EncodeJob)]


def checked(store: FeatureStore, *, media: bool) -> tuple[list[Damage], int]:
    """Damages of a store, and the number of its intact runs."""
    from vega3d.cache.maintenance import check
    from vega3d.store.feature_store import Damage

    damages, sound = [], 0
    for result in tracked(check(store, media=media), "reading", "run"):
        if isinstance(result, Damage):
            damages.append(result)
        else:
            sound += 1
    return damages, sound


def config_of(arguments: argparse.Namespace) -> Vega3DConfig:
    """Settings that the options name."""
    import dataclasses

    from vega3d.checkpoint import load
    from vega3d.config import Vega3DConfig
    from vega3d.costs.setup import with_settings
    from vega3d.errors import ConfigError
    from vega3d.pipeline import PICO, with_backbone

    if arguments.model is None and arguments.backbone is None:
        raise ConfigError(
            "Missing generator: --backbone or --model.",
            got="neither --backbone nor --model",
            expected="a Wan2.1, or a vega3d checkpoint that names one",
            fix="--backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or --backbone pico to try it out",
        )
    is_checkpoint = arguments.model not in (None, PICO)
    config = load(arguments.model).config if is_checkpoint else Vega3DConfig()
    if arguments.backbone is not None or not is_checkpoint:
        config = with_backbone(config, arguments.backbone or PICO)
    return dataclasses.replace(config, backbone=with_settings(config.backbone, arguments.set))


def stored_config(store: FeatureStore, path: str | None = None) -> Vega3DConfig:
    """Settings that a store was built with; ``path`` replaces the generator's path if given."""
    from vega3d.config import Vega3DConfig

    record = {**store.backbone} if path is None else {**store.backbone, "path": pico_or(path, "wan")}
    return Vega3DConfig.from_dict({"backbone": record})


def settings_for(arguments: argparse.Namespace, store: FeatureStore | None) -> Vega3DConfig:
    """Settings that the options name; those of an existing store, which must not contradict the options."""
    config = stored_config(store, arguments.backbone) if store is not None else config_of(arguments)
    if store is not None and (arguments.model is not None or arguments.set):
        from vega3d.registry import backbone_record

        path = arguments.backbone or store.backbone["path"]
        asked = argparse.Namespace(**{**vars(arguments), "backbone": path})
        store.require_settings(backbone_record(config_of(asked).backbone))
    return config


def load_generator(arguments: argparse.Namespace, config: Vega3DConfig) -> Backbone:
    """Load the generator of a config on the device that the options name."""
    from vega3d.backbones.loading import load_backbone
    from vega3d.pipeline import device_of

    device = device_of(arguments.device)
    backbone: Any = load_backbone(config)
    local = os.environ.get("LOCAL_RANK")
    if hasattr(backbone, "to"):
        backbone.to(f"cuda:{local}" if device.type == "cuda" and local is not None else device)
    loaded: Backbone = backbone
    return loaded


def provenance_of(backbone: Any) -> dict[str, str]:
    """Kind and name of the device that a generator runs on."""
    import platform

    import torch

    device = getattr(backbone, "device", torch.device("cpu"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": f"{device.type} {name}"}


def pico_or(name: str, part: Literal["host", "wan"]) -> str:
    """Path of a model; ``pico`` gives the shipped one."""
    from vega3d.pico import pico_path

    return str(pico_path(part)) if name == "pico" else name


def is_store(path: str) -> bool:
    """True if a path holds a store."""
    from pathlib import Path

    from vega3d.store.format import MANIFEST

    return (Path(path) / MANIFEST).exists()


def say_problems(problems: list[Problem]) -> int:
    """Print the media that could not be used; returns the exit code."""
    for problem in problems[:SHOWN]:
        print(f"{problem.where}: {problem.error}", file=sys.stderr)
    if problems:
        more = f", {SHOWN} of them are shown" if len(problems) > SHOWN else ""
        print(f"{len(problems):,} media could not be used{more}", file=sys.stderr)
    return 1 if problems else 0


def in_bytes(count: float) -> str:
    """A size in bytes as readable text."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.2f} TB"
