"""Names of hosts, backbones, fusions and benchmarks: ours by import path, third parties by entry point.

Nothing is imported before it is resolved. A plug-in is one entry point in the group
``vega3d.hosts``, ``vega3d.backbones``, ``vega3d.fusions`` or ``vega3d.benchmarks``; its name is the name
that users write. A backbone class carries ``config_class``, so that its settings can be read back.
A class that is not installed can be registered for one process.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from vega3d._utils import moved
from vega3d.errors import ConfigError, unknown_choice

Kind = Literal["hosts", "backbones", "fusions", "benchmarks"]

BUILT_IN: dict[Kind, dict[str, str]] = {
    "hosts": {
        "qwen2_vl": "vega3d.hosts.qwen:Qwen2VL",
        "qwen2_5_vl": "vega3d.hosts.qwen:QwenVL",
        "qwen3_vl": "vega3d.hosts.qwen:Qwen3VL",
    },
    "backbones": {
        "wan": "vega3d.backbones.wan.backbone:WanBackbone",
        "siglip": "vega3d.backbones.siglip.backbone:SiglipBackbone",
    },
    "fusions": {
        "gated_residual": "vega3d.fusion.gated_residual:GatedResidual",
        "paper": "vega3d.fusion.published:Paper",
        "released_3d": "vega3d.fusion.published:Released3D",
        "released_vsi": "vega3d.fusion.published:ReleasedVSI",
    },
    "benchmarks": {
        name: f"vega3d.evaluation.benchmarks.{name}:BENCHMARK"
        for name in (
            *("blink_spatial", "box3d_iou", "cvbench", "motion", "multi3drefer", "scan2cap"),
            *("scanqa", "scanrefer", "sqa3d", "threedod", "vsibench"),
        )
    },
}

_ADDED: dict[tuple[Kind, str], str] = {}

# so that reading a config needs no torch
BACKBONE_CONFIGS = {
    "wan": "vega3d.backbones.wan.config:WanConfig",
    "siglip": "vega3d.backbones.siglip.config:SiglipConfig",
}


def plug_ins(group: str) -> dict[str, EntryPoint]:
    """Entry points of the group ``vega3d.<group>`` by name."""
    return _search(f"vega3d.{group}", tuple(sys.path))


@functools.cache  # a search opens a file of each installed package
def _search(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def names(kind: Kind) -> list[str]:
    """All names that ``resolve`` accepts for ``kind``, sorted."""
    added = {name for group, name in _ADDED if group == kind}
    return sorted({*BUILT_IN[kind], *added, *plug_ins(kind)})


def register(kind: Kind, name: str, path: str) -> None:
    """Register a name for this process only, for code that is not installed: a study, a notebook.

    Args:
        kind: group of the name.
        name: name that users write.
        path: ``package.module:Class``; imported when it is resolved.

    Raises:
        ConfigError: the name is registered for another path.
    """
    if (_known(kind, name) or path) != path:
        what = f"Invalid {kind.removesuffix('s')} name {name!r}: it is registered already."
        expected = f"a name other than {', '.join(names(kind))}"
        raise ConfigError(what, got=path, expected=expected, fix="choose another name")
    _ADDED[kind, name] = path


def resolve(kind: Kind, name: str) -> Any:
    """The object registered under ``name``; imports its module now.

    Raises:
        ConfigError: unknown name; the error lists the names and the nearest one.
    """
    if path := _known(kind, name):
        return _load(path)
    if name in plug_ins(kind):
        return plug_ins(kind)[name].load()
    raise unknown_choice(kind.removesuffix("s"), name, names(kind))


def backbone_config_class(name: str) -> Any:
    """The config dataclass of a backbone; a built-in one is found without importing torch."""
    if name in BACKBONE_CONFIGS:
        return _load(BACKBONE_CONFIGS[name])
    return resolve("backbones", name).config_class


def backbone_name(config: object) -> str:
    """The registered name of the backbone that ``config`` belongs to."""
    for name in names("backbones"):
        if type(config) is backbone_config_class(name):
            return name
    got, expected = type(config).__name__, "a config class of " + ", ".join(names("backbones"))
    what = f"Unknown backbone config {got}: no registered backbone uses it."
    fix = "register the backbone under the entry-point group 'vega3d.backbones'"
    raise ConfigError(what, got=got, expected=expected, fix=fix)


def backbone_record(config: Any) -> dict[str, Any]:
    """A backbone's settings as plain JSON types, with its registered name under ``type``."""
    return {"type": backbone_name(config), **dataclasses.asdict(config)}


def current_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A backbone's written settings under the names of this version; a plug-in's as they are."""
    home = BACKBONE_CONFIGS.get(str(record.get("type")))
    return dict(record) if home is None else moved.current(_load(home), record)


def _known(kind: Kind, name: str) -> str | None:
    return BUILT_IN[kind].get(name) or _ADDED.get((kind, name))


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)
