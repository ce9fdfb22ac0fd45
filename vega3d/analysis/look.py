"""Pictures of a video: frames, generative features, gate and contribution side by side.

The gate alone is not an attribution: with generative tokens near zero any gate is harmless. So the
contribution ||fused - S|| / ||S|| stands beside it, with its numbers. Each semantic stream beside the
generator has a weight and a contribution of its own; a model without such streams shows none.

Scales are fixed, so that pictures of two runs compare. A gate that was never trained says nothing about a
video and is not drawn; nor is a contribution that is 0 everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from vega3d._utils.files import make_folder, write_whole
from vega3d.analysis.pictures import Picture, Values, enlarged, grey, heat, over, principal_colours
from vega3d.errors import InputError, Vega3DError
from vega3d.fusion.encode import Encoding, FusionReport
from vega3d.grid import FeatureMap, Links
from vega3d.media.decoding import PICTURES, probe
from vega3d.media.frame_plan import FramePlan

UNTRAINED = "untrained: projector and fusion have their initial values, so no gate is drawn"
NOTHING_ADDED = "; they add nothing to the host's tokens"


class Scale(NamedTuple):
    """A fixed range of values and its colours.

    Attributes:
        low: value of the darkest colour.
        high: value of the brightest colour.
        ticks: values with their texts, for a colour bar.
        is_log: colours follow the logarithm of a value.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_log: bool = False

    def colours(self, values: Values) -> Picture:
        """(h, w) values as colours."""
        return heat(self.places(values), 0.0, 1.0)

    def places(self, values: Values) -> Values:
        """Values as shares of the range, 0..1."""
        low, high = self.low, self.high
        if self.is_log:
            values, (low, high) = np.log10(np.maximum(values, low)), np.log10((low, high))
        return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


WEIGHT = Scale(0.0, 1.0, ((0.0, "0"), (0.5, "0.5"), (1.0, "1")))
CONTRIBUTION = Scale(
    0.001, 1.0, ((0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1.0, "100 %")), is_log=True
)


class Row(NamedTuple):
    """Pictures beside each other: one for each frame, or for each time step of the host.

    Attributes:
        title: of the row.
        pictures: in order of time.
        frames: for each picture, the host's frames that it describes.
        scale: of its colours; None for pictures without a colour bar.
    """

    title: str
    pictures: list[Picture]
    frames: Links = ()
    scale: Scale | None = None


@dataclass(frozen=True)
class About:
    """Texts beside the pictures.

    Attributes:
        video: name of the video.
        question: asked about it; empty if there was none.
        answer: of the model.
        model: name of the model.
        seconds: time of each frame of the host; empty if unknown, as in photographs.
        trained: False if projector and fusion have their initial values.
    """

    video: str = ""
    question: str = ""
    answer: str = ""
    model: str = ""
    seconds: tuple[float, ...] = ()
    trained: bool = True


@dataclass(frozen=True)
class Look:
    """Pictures and numbers of one video.

    Attributes:
        rows: ``frame``, ``features``, ``gate`` and ``contribution``; for each further stream its
            ``NAME_weight`` and ``NAME_contribution``. Gate and weights of an untrained model are missing, and
            so are its contributions if they are 0.
        numbers: summary statistics, plain JSON types; ``streams`` only where there are further streams.
        about: texts beside the pictures.
    """

    rows: dict[str, Row]
    numbers: dict[str, Any]
    about: About = About()

    @property
    def times(self) -> list[str]:
        """Title of each frame of the host: its time, or its number from 1."""
        count = len(self.rows["frame"].pictures)
        seconds = self.about.seconds[:count]
        return [f"{s:.1f} s" for s in seconds] or [f"frame {n + 1}" for n in range(count)]

    @property
    def note(self) -> str:
        """Warning about a model whose parts were never trained; empty for others."""
        if self.about.trained:
            return ""
        return UNTRAINED + ("" if self.numbers["contribution_max"] > 0 else NOTHING_ADDED)


def look_at(
    encoding: Encoding, frames: torch.Tensor, plan: FramePlan | None = None, about: About | None = None
) -> Look:
    """Draw the first clip of an encoding.

    Args:
        encoding: result of ``Vega3DAdapter.encode``.
        frames: (T, 3, H, W) uint8 frames of that clip, as the generator saw them.
        plan: which of them describes which frame of the host; None means that both saw the same.
        about: texts beside the pictures.

    Raises:
        InputError: there are no frames.
    """
    if not len(frames):
        fix = "decode them: vega3d.media.decoding.read_frames(video, plan.generative)"
        raise InputError(
            "Missing frames: features were stored.", got="0 frames", expected="1 or more", fix=fix
        )
    about = about or About()
    links = plan.host_to_generator if plan is not None else tuple((n,) for n in range(len(frames)))
    seen = frames[[link[0] for link in links]].permute(0, 2, 3, 1).cpu().numpy()
    pictures = [enlarged(picture) for picture in seen]
    each = tuple((n,) for n in range(len(pictures)))
    rows = {
        "frame": Row("frames", pictures, each),
        "features": Row(
            "generative features: three principal components, one palette for the clip",
            _draw_features(pictures, encoding.maps[0], links),
            each,
        ),
    }
    numbers = _draw_reports(rows, _reports_of_clip(encoding, len(pictures)), pictures, about.trained)
    sizes = {"feature_grid": list(encoding.maps[0].features.shape[2:]), "frames": len(frames)}
    return Look(rows, numbers | sizes | {"trained": about.trained}, about)


def times_of(video: str | os.PathLike[str], plan: FramePlan) -> tuple[float, ...]:
    """Seconds of the host's frames; empty for photographs, and where a video cannot be measured."""
    if Path(video).suffix.lower() in PICTURES:
        return ()
    try:
        rate = probe(video).fps
    except Vega3DError:
        return ()
    return tuple(number / rate for number in plan.host)


def _draw_features(pictures: Sequence[Picture], features: FeatureMap, links: Links) -> list[Picture]:
    """For each frame of the host the colours of its step, over the frame."""
    maps = features.features.permute(1, 0, 2, 3).float().cpu().numpy()  # (T, C, h, w)
    colours = principal_colours(maps)
    steps = [
        next((step for step, described in enumerate(features.frames) if link[0] in described), 0)
        for link in links
    ]
    return [
        over(grey(picture), colours[step], 0.75, smooth=True, extent=features.extent)
        for picture, step in zip(pictures, steps, strict=True)
    ]


def _reports_of_clip(encoding: Encoding, frames: int) -> Sequence[FusionReport]:
    """The report of a video, or those of all images of a clip."""
    is_image = encoding.reports[0].modality == "image"
    return encoding.reports[: frames if is_image else 1]


def _draw_reports(
    rows: dict[str, Row], reports: Sequence[FusionReport], pictures: Sequence[Picture], trained: bool
) -> dict[str, Any]:
    """Add the rows of gate, weights and contributions; returns their numbers."""
    gate, contribution = _steps([r.gate for r in reports]), _steps([r.contribution for r in reports])
    numbers = _statistics("gate", gate, contribution)
    draw = partial(_over_frames, pictures)
    if trained:
        title = f"gate: weight of the host's own token, mean {numbers['gate_mean']:.3f}"
        rows["gate"] = draw(title, gate, WEIGHT)
    if trained or numbers["contribution_max"] > 0:
        title = f"contribution ‖fused − S‖ / ‖S‖: {_shown(numbers)}"
        rows["contribution"] = draw(title, contribution, CONTRIBUTION)
    numbers["token_grid"] = [len(gate), *gate[0].shape]
    for place, stream in enumerate(reports[0].streams[1:], 1):  # the first is the generator
        name = stream.name
        weight = _steps([r.streams[place].weight for r in reports])
        part = _steps([r.streams[place].contribution for r in reports])
        stream_numbers = _statistics("weight", weight, part)
        numbers.setdefault("streams", {})[name] = stream_numbers
        if trained:
            title = f"weight of {name}, mean {stream_numbers['weight_mean']:.3f}"
            rows[f"{name}_weight"] = draw(title, weight, WEIGHT)
        if trained or stream_numbers["contribution_max"] > 0:
            title = f"contribution of {name}, ‖term‖ / ‖S‖: {_shown(stream_numbers)}"
            rows[f"{name}_contribution"] = draw(title, part, CONTRIBUTION)
    return numbers


def _steps(tensors: Sequence[torch.Tensor]) -> list[Values]:
    """(h, w) values of every time step of the host."""
    return [step for values in tensors for step in values.float().cpu().numpy()]


def _over_frames(pictures: Sequence[Picture], title: str, values: Sequence[Values], scale: Scale) -> Row:
    """Values of each time step over the first frame that it describes, with its grid of tokens visible."""
    stride = -(-len(pictures) // len(values))  # frames of the host in one time step
    groups = tuple(tuple(range(n, min(n + stride, len(pictures)))) for n in range(0, len(pictures), stride))
    drawn = [
        over(pictures[group[0]], scale.colours(step)) for group, step in zip(groups, values, strict=True)
    ]
    return Row(title, drawn, groups, scale)


def _statistics(name: str, weight: Sequence[Values], contribution: Sequence[Values]) -> dict[str, Any]:
    weights, parts = (np.concatenate([step.ravel() for step in steps]) for steps in (weight, contribution))
    return {
        f"{name}_mean": float(weights.mean()),
        f"{name}_std": float(weights.std()),
        "contribution_mean": float(parts.mean()),
        "contribution_max": float(parts.max()),
    }


def _shown(numbers: dict[str, Any]) -> str:
    mean, largest = (100 * numbers[f"contribution_{name}"] for name in ("mean", "max"))
    return f"mean {mean:.1f} %, largest {largest:.1f} %"


def write_look(
    look: Look, folder: str | os.PathLike[str], *, format: str = "png", width: float = 6.9
) -> list[Path]:
    """Write the figure, a page with a slider over frames, a picture of each row's first frame, and numbers.

    Args:
        look: result of ``look_at``.
        folder: made if it is not there.
        format: of the figure ``look.FORMAT``: ``png``, ``pdf`` or ``svg``.
        width: of the figure in inches: 3.3 for a column of a paper, 6.9 for its whole width.

    Returns:
        The written paths: the figure, ``look.html``, the pictures, ``look.json``.

    Raises:
        DependencyError: ``pdf`` and ``svg`` need matplotlib.
        ConfigError: the format or the width is unknown.
    """
    from vega3d.analysis.figure import write_figure
    from vega3d.analysis.look_page import page

    out = make_folder(Path(folder))
    written = [write_figure(look, out / f"look.{format}", width), _write_text(out / "look.html", page(look))]
    for name, row in look.rows.items():
        written.append(write_whole(out / f"{name}.png", partial(_write_png, np.asarray(row.pictures[0]))))
    return [*written, _write_text(out / "look.json", json.dumps(look.numbers, indent=2) + "\n")]


def _write_text(file: Path, text: str) -> Path:
    content = text.encode(errors="backslashreplace")
    return write_whole(file, lambda part: part.write_bytes(content))


def _write_png(picture: Picture, path: Path) -> None:
    Image.fromarray(picture).save(path, format="PNG")
