"""Pictures of a video: frames, generative features, gate and contribution side by side.

The gate alone is not an attribution: with generative tokens near zero any gate is harmless. So the
contribution ||fused - S|| / ||S|| stands beside it, with its numbers. Each semantic stream beside the
generator has a weight and a contribution of its own; a model without such streams shows none.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from vega3d._utils.files import make_folder, write_whole
from vega3d.analysis.pictures import Picture, Values, heat, over, principal_colours, sheet
from vega3d.fusion.encode import Encoding
from vega3d.media.frame_plan import FramePlan


class Row(NamedTuple):
    """Pictures beside each other: one for each frame, or for each time step of the host."""

    title: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Look:
    """Pictures and numbers of one video.

    Attributes:
        rows: ``frame``, ``features``, ``gate`` and ``contribution``; for each further stream its
            ``NAME_weight`` and ``NAME_contribution``.
        numbers: summary statistics, plain JSON types; ``streams`` only where there are further streams.
    """

    rows: dict[str, Row]
    numbers: dict[str, Any]


def look_at(encoding: Encoding, frames: torch.Tensor, plan: FramePlan | None = None) -> Look:
    """Draw the first clip of an encoding.

    Args:
        encoding: result of ``Vega3DAdapter.encode``.
        frames: (T, 3, H, W) uint8 frames of that clip, as the generator saw them.
        plan: which of them describes which frame of the host; None means that both saw the same.
    """
    pictures = list(frames.permute(0, 2, 3, 1).cpu().numpy())
    maps = encoding.maps[0].features.permute(1, 0, 2, 3).float().cpu().numpy()  # (T, C, h, w)
    report = encoding.reports[0]
    gate, contribution = _arrays(report.gate, report.contribution)  # (G, h, w)
    under = _under(pictures, plan, len(gate))
    numbers = _statistics("gate", gate, contribution)
    gate_title = f"gate of the host's stream, 0 dark to 1 bright: mean {numbers['gate_mean']:.3f}"
    rows = {
        "frame": Row("frames", pictures),
        "features": Row("generative features: first three principal components", principal_colours(maps)),
        "gate": Row(gate_title, _draw(under, gate, 1.0)),
        "contribution": Row(f"contribution |fused - S| / |S|: {_shown(numbers)}", _draw(under, contribution)),
    }
    numbers |= {"token_grid": list(gate.shape), "feature_grid": list(maps.shape[2:]), "frames": len(pictures)}
    for stream in report.streams[1:]:  # the first is the generator
        name, (weight, part) = stream.name, _arrays(stream.weight, stream.contribution)
        stream_numbers = _statistics("weight", weight, part)
        numbers.setdefault("streams", {})[name] = stream_numbers
        title = f"weight of {name}, 0 to 1: mean {stream_numbers['weight_mean']:.3f}"
        rows[f"{name}_weight"] = Row(title, _draw(under, weight, 1.0))
        title = f"contribution of {name}, |term| / |S|: {_shown(stream_numbers)}"
        rows[f"{name}_contribution"] = Row(title, _draw(under, part))
    return Look(rows, numbers)


def _arrays(*tensors: torch.Tensor) -> tuple[Values, ...]:
    return tuple(values.float().cpu().numpy() for values in tensors)


def _under(pictures: list[Picture], plan: FramePlan | None, steps: int) -> list[Picture]:
    """For each time step of the host the picture that describes its first frame."""
    links = plan.host_to_generator if plan is not None else [(at,) for at in range(len(pictures))]
    stride = -(-len(links) // steps)  # frames of the host in one time step
    return [pictures[link[0]] for link in links[::stride]]


def _draw(under: list[Picture], values: Values, highest: float | None = None) -> list[Picture]:
    """Values over the pictures, dark at 0 and bright at ``highest``; None takes the largest value."""
    highest = float(values.max()) if highest is None else highest
    return [over(p, heat(v, 0.0, highest)) for p, v in zip(under, values, strict=True)]


def _statistics(name: str, weight: Values, contribution: Values) -> dict[str, Any]:
    return {
        f"{name}_mean": float(weight.mean()),
        f"{name}_std": float(weight.std()),
        "contribution_mean": float(contribution.mean()),
        "contribution_max": float(contribution.max()),
    }


def write_look(look: Look, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``look.png`` (all rows), one picture for each row's first frame, and ``look.json``.

    Returns:
        The written paths, the overview first.
    """
    out = make_folder(Path(folder))
    pictures = {out / "look.png": sheet(list(look.rows.values()))}
    pictures |= {out / f"{name}.png": np.asarray(row.pictures[0]) for name, row in look.rows.items()}
    written = [write_whole(file, partial(_write_png, picture)) for file, picture in pictures.items()]
    text = json.dumps(look.numbers, indent=2) + "\n"
    return [*written, write_whole(out / "look.json", lambda part: part.write_text(text, encoding="utf-8"))]


def _shown(numbers: dict[str, Any]) -> str:
    return f"mean {numbers['contribution_mean']:.4f}, brightest {numbers['contribution_max']:.4f}"


def _write_png(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, format="PNG")
