"""Shared parts of ``vega3d cache``: from options to settings, generator and jobs, and what is printed."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from itertools import chain
from typing import TYPE_CHECKING, Any

from vega3d._utils.progress import bar
from vega3d.errors import ConfigError

if TYPE_CHECKING:
    from vega3d.cache import EncodeJob, Problem, Report
    from vega3d.config import Vega3DConfig
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
    if not arguments.annotations and not arguments.media:
        fix = "vega3d cache ... train.json, or --media a.mp4 b.mp4"
        raise ConfigError("Missing media.", got="neither", expected="annotation files or --media", fix=fix)


def plan(
    arguments: argparse.Namespace, settings: Any, identity: Any, text: str = "reading"
) -> tuple[list[Problem], list[EncodeJob]]:
    """Media that cannot be used, and the jobs of all others; without ``identity``, no file is hashed."""
    from vega3d.cache import EncodeJob, JobPlanner, Problem
    from vega3d.data import media_rows, tried_rows

    if arguments.host is not None:
        warnings.warn(HOST_IGNORED, FutureWarning, stacklevel=2)
    defaults = {name: getattr(arguments, name) for name in SAMPLING if getattr(arguments, name) is not None}
    trust = {"allow_urls": arguments.allow_urls, "allow_outside": arguments.allow_outside}
    files = (tried_rows(file, arguments.root, defaults, **trust) for file in arguments.annotations)
    rows = chain(chain.from_iterable(files), media_rows(arguments.media, defaults))
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    planner = JobPlanner(settings, identity, rank, world, marks=arguments.marks)
    planned: list[Problem | EncodeJob] = []
    with bar(text, "row") as progress:
        for number, needed in enumerate(planner.of(rows), 1):
            planned += needed
            progress(number, 0, False)
    problems = [problem for problem in planned if isinstance(problem, Problem)]
    return problems, [job for job in planned if isinstance(job, EncodeJob)]


def config(arguments: argparse.Namespace, store: FeatureStore | None = None) -> Vega3DConfig:
    """Settings that the options name, or those of a store; its generator may have another path.

    Raises:
        ConfigError: no generator is named, or a setting is invalid.
        StoreError: the options contradict the store.
    """
    from vega3d.registry import backbone_record

    if store is None:
        return _named_config(arguments.model, arguments.backbone, arguments.set)
    if arguments.model is not None or arguments.set:
        path = arguments.backbone or store.backbone["path"]
        store.require_settings(backbone_record(_named_config(arguments.model, path, arguments.set).backbone))
    return stored_config(store, arguments.backbone)


def _named_config(model: str | None, backbone: str | None, settings: list[str]) -> Vega3DConfig:
    from dataclasses import replace

    from vega3d.checkpoint import load
    from vega3d.config import Vega3DConfig
    from vega3d.costs.setup import with_settings
    from vega3d.pipeline import PICO, with_backbone

    if model is None and backbone is None:
        expected = "--backbone with a Wan2.1, or --model with a vega3d checkpoint that names one"
        fix = "--backbone Wan-AI/Wan2.1-T2V-1.3B-Diffusers, or --backbone pico to try it out"
        raise ConfigError("Missing generator.", got="neither", expected=expected, fix=fix)
    config = Vega3DConfig() if model in (None, PICO) else load(model).config
    if backbone is not None or model in (None, PICO):
        config = with_backbone(config, backbone or PICO)
    return replace(config, backbone=with_settings(config.backbone, settings))


def stored_config(store: FeatureStore, path: str | None = None) -> Vega3DConfig:
    """Settings that a store was built with; ``path`` replaces the generator's path if given."""
    from vega3d.config import Vega3DConfig
    from vega3d.pico import PICO, pico_path

    record = dict(store.backbone)
    if path is not None:
        record["path"] = str(pico_path("wan")) if path == PICO else path
    return Vega3DConfig.from_dict({"backbone": record})


def load_generator(arguments: argparse.Namespace, config: Vega3DConfig) -> Any:
    """Load the generator of a config on the device that the options name."""
    from vega3d.backbones.loading import load_backbone
    from vega3d.pipeline import device_of

    device, backbone = device_of(arguments.device), load_backbone(config)
    local = os.environ.get("LOCAL_RANK")
    if hasattr(backbone, "to"):
        backbone.to(f"cuda:{local}" if device.type == "cuda" and local is not None else device)
    return backbone


def compute(store: FeatureStore, backbone: Any, jobs: list[EncodeJob]) -> Report:
    """Store what is not there yet, with progress and with the device that computed it."""
    import platform

    import torch

    from vega3d.cache import build

    device, rank = getattr(backbone, "device", torch.device("cpu")), os.environ.get("RANK")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    provenance = {"device": f"{device.type} {name}"}
    with bar("computing" if rank is None else f"computing, rank {rank}", "run") as progress:
        return build(store, backbone, jobs, provenance=provenance, progress=progress)


def check(store: FeatureStore, *, media: bool) -> tuple[list[Damage], int]:
    """Damages of a store, and the number of its intact runs."""
    from vega3d.cache import maintenance
    from vega3d.store.feature_store import Damage

    damages, read = [], 0
    with bar("reading", "run") as progress:
        for read, result in enumerate(maintenance.check(store, media=media), 1):
            damages += [result] if isinstance(result, Damage) else []
            progress(read, 0, False)
    return damages, read - len(damages)


def report_problems(problems: list[Problem]) -> int:
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
