"""Pictures of a video: frames, generative features, gate and contribution side by side.

The gate alone is not an attribution: with generative tokens near zero any gate is harmless. So the
contribution ||fused - S|| / ||S|| stands beside it, with its numbers. Each semantic stream beside the
generator has a weight and a contribution of its own; a model without such streams shows none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vega3d._utils.files import make_folder, write_whole
from vega3d.analysis.pictures import Picture, heat, over, principal_colours, sheet
from vega3d.fusion.encode import Encoding
from vega3d.fusion.stats import StreamReport
from vega3d.media.frame_plan import FramePlan


@dataclass(frozen=True)
class Look:
    """Pictures and numbers of one video.

    Attributes:
        frames: the decoded frames.
        features: principal components of the generative features, one for each frame.
        gate: the gate over the frame of each time step of the host.
        contribution: the same for the contribution.
        numbers: summary statistics, plain JSON types; ``streams`` only where there are further streams.
        streams: for each further stream its name, its weight and its contribution over the same frames.
    """

    frames: list[Picture]
    features: list[Picture]
    gate: list[Picture]
    contribution: list[Picture]
    numbers: dict[str, Any]
    streams: list[tuple[str, list[Picture], list[Picture]]] = field(default_factory=list)


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
    further = report.streams[1:]  # the first is the generator
    gate = report.gate.float().cpu().numpy()  # (G, h, w)
    contribution = report.contribution.float().cpu().numpy()
    under = _under(pictures, plan, len(gate))
    highest = float(contribution.max())
    return Look(
        frames=pictures,
        features=principal_colours(maps),
        gate=[over(p, heat(g, 0.0, 1.0)) for p, g in zip(under, gate, strict=True)],
        contribution=[over(p, heat(c, 0.0, highest)) for p, c in zip(under, contribution, strict=True)],
        numbers={
            "gate_mean": float(gate.mean()),
            "gate_std": float(gate.std()),
            "contribution_mean": float(contribution.mean()),
            "contribution_max": highest,
            "token_grid": list(gate.shape),
            "feature_grid": list(maps.shape[2:]),
            "frames": len(pictures),
        }
        | _stream_numbers(further),
        streams=[_draw_stream(stream, under) for stream in further],
    )


def _under(pictures: list[Picture], plan: FramePlan | None, steps: int) -> list[Picture]:
    """For each time step of the host the picture that describes its first frame."""
    links = plan.host_to_generator if plan is not None else [(at,) for at in range(len(pictures))]
    stride = -(-len(links) // steps)  # frames of the host in one time step
    return [pictures[link[0]] for link in links[::stride]]


def _draw_stream(stream: StreamReport, under: list[Picture]) -> tuple[str, list[Picture], list[Picture]]:
    weight, part = (values.float().cpu().numpy() for values in (stream.weight, stream.contribution))
    highest = float(part.max())
    return (
        stream.name,
        [over(p, heat(w, 0.0, 1.0)) for p, w in zip(under, weight, strict=True)],
        [over(p, heat(c, 0.0, highest)) for p, c in zip(under, part, strict=True)],
    )


def _stream_numbers(streams: Sequence[StreamReport]) -> dict[str, Any]:
    numbers = {
        stream.name: {
            "weight_mean": float(stream.weight.mean()),
            "weight_std": float(stream.weight.std(unbiased=False)),
            "contribution_mean": float(stream.contribution.mean()),
            "contribution_max": float(stream.contribution.max()),
        }
        for stream in streams
    }
    return {"streams": numbers} if numbers else {}


def write_look(look: Look, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``look.png`` (all rows), one picture for each row's first frame, and ``look.json``.

    Returns:
        The written paths, the overview first.
    """
    out = make_folder(Path(folder))
    numbers, rows = look.numbers, _rows(look)
    pictures = {"look.png": sheet([(title, row) for _, title, row in rows])}
    pictures |= {f"{name}.png": np.asarray(row[0]) for name, _, row in rows}
    written = [write_whole(out / name, partial(_write_png, picture)) for name, picture in pictures.items()]
    text = json.dumps(numbers, indent=2) + "\n"
    return [*written, write_whole(out / "look.json", lambda part: part.write_text(text, encoding="utf-8"))]


def _rows(look: Look) -> list[tuple[str, str, list[Picture]]]:
    """Name, title and pictures of each row of the overview."""
    numbers = look.numbers
    rows = [
        ("frame", "frames", look.frames),
        ("features", "generative features: first three principal components", look.features),
        (
            "gate",
            f"gate of the host's stream, 0 dark to 1 bright: mean {numbers['gate_mean']:.3f}",
            look.gate,
        ),
        (
            "contribution",
            f"contribution |fused - S| / |S|: mean {numbers['contribution_mean']:.4f}, "
            f"brightest {numbers['contribution_max']:.4f}",
            look.contribution,
        ),
    ]
    for name, weight, part in look.streams:
        stream = numbers["streams"][name]
        shown = f"mean {stream['contribution_mean']:.4f}, brightest {stream['contribution_max']:.4f}"
        rows += [
            (f"{name}_weight", f"weight of {name}, 0 to 1: mean {stream['weight_mean']:.3f}", weight),
            (f"{name}_contribution", f"contribution of {name}, |term| / |S|: {shown}", part),
        ]
    return rows


def _write_png(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, format="PNG")
