"""Where does the gate look? Frames, generative features, gate and contribution side by side.

The gate alone is no attribution: with generative tokens near zero any gate is harmless. So the
contribution ||fused - S|| / ||S|| stands beside it, with its numbers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vega3d.analysis.pictures import Picture, heat, over, principal_colours, sheet
from vega3d.encoding import Encoding
from vega3d.files import write_whole


@dataclass(frozen=True)
class Look:
    """Pictures and numbers of one video.

    Attributes:
        frames: the decoded frames.
        features: principal components of the generative features, one for each frame.
        gate: the gate over the frame of each time step of the host.
        contribution: the same for the contribution.
        numbers: summary statistics, plain JSON types.
    """

    frames: list[Picture]
    features: list[Picture]
    gate: list[Picture]
    contribution: list[Picture]
    numbers: dict[str, Any]


def look_at(encoding: Encoding, frames: torch.Tensor) -> Look:
    """Draw the first clip of an encoding.

    Args:
        encoding: result of ``Vega3DAdapter.encode``.
        frames: (T, 3, H, W) uint8 frames of that clip.
    """
    pictures = list(frames.permute(0, 2, 3, 1).cpu().numpy())
    maps = encoding.maps[0].features.permute(1, 0, 2, 3).float().cpu().numpy()  # (T, C, h, w)
    report = encoding.reports[0]
    gate = report.gate.float().cpu().numpy()  # (G, h, w)
    contribution = report.contribution.float().cpu().numpy()
    stride = -(-len(pictures) // len(gate))  # frames in one time step of the host
    under = pictures[::stride]
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
        },
    )


def write_look(look: Look, folder: str | os.PathLike[str]) -> list[Path]:
    """Write ``look.png`` (all rows), one picture for each row's first frame, and ``look.json``.

    Returns:
        The written paths, the overview first.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    numbers = look.numbers
    rows = [
        ("frames", look.frames),
        ("generative features: first three principal components", look.features),
        (f"gate of the host's stream, 0 dark to 1 bright: mean {numbers['gate_mean']:.3f}", look.gate),
        (
            f"contribution |fused - S| / |S|: mean {numbers['contribution_mean']:.4f}, "
            f"brightest {numbers['contribution_max']:.4f}",
            look.contribution,
        ),
    ]
    pictures = {"look.png": sheet(rows)}
    pictures |= {
        f"{name}.png": np.asarray(row[0])
        for name, row in zip(("frame", "features", "gate", "contribution"), (r for _, r in rows), strict=True)
    }
    written = [write_whole(out / name, partial(_write_png, picture)) for name, picture in pictures.items()]
    text = json.dumps(numbers, indent=2) + "\n"
    return [*written, write_whole(out / "look.json", lambda part: part.write_text(text, encoding="utf-8"))]


def _write_png(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, format="PNG")
