"""The arms: what stands in the place of the generator's features, one entry each.

Every arm fine-tunes the same host on the same rows in the same order. Only what its store holds differs, and
for ``host`` whether projector and gate learn at all. This module knows no files and no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["wan", "latents", "host", "oracle", "shuffled"]
Encoder = Literal["video", "image", "masked", "depth", "untrained"]
ReadAs = Literal["frame", "window", "clip"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: as configs call it.
        title: as tables call it.
        source: where features come from.
        encoder: which transformer, for the source ``wan``.
        mode: which frames it encodes together.
        clean: it was trained on clean latents, so it is read without noise.
        reads: the arm whose store it reads or copies from; None makes its own from pictures.
        listens: whether projector and gate are trained; otherwise the fusion stays the identity.
    """

    name: str
    title: str
    source: Source
    encoder: Encoder = "video"
    mode: ReadAs = "frame"
    clean: bool = False
    reads: str | None = None
    listens: bool = True


_ALL = (
    Arm("host", "host alone", "host", reads="host_twice", listens=False),
    Arm("host_twice", "host, as many extra parameters", "host"),
    Arm("video_frame", "Wan, video, frame", "wan"),
    Arm("video_window", "Wan, video, window", "wan", mode="window"),
    Arm("video_clip", "Wan, video, clip", "wan", mode="clip"),
    Arm("image_frame", "Wan, single images", "wan", "image"),
    Arm("untrained", "Wan, untrained", "wan", "untrained"),
    Arm("shuffled", "Wan, another clip's", "shuffled", reads="video_frame"),
    Arm("latents", "VAE latents", "latents"),
    Arm("masked", "masked autoencoder", "wan", "masked", clean=True),
    Arm("depth", "depth-supervised", "wan", "depth", clean=True),
    Arm("oracle", "oracle coordinates", "oracle"),
)
ARMS = {arm.name: arm for arm in _ALL}

PRIMARY_CONTRASTS = (("video_frame", "host_twice"), ("video_frame", "image_frame"))
"""(better?, than what): the two questions that decide; corrected for being two (Holm)."""

FURTHER_CONTRASTS = (
    ("oracle", "host_twice"),
    ("host_twice", "host"),
    ("video_frame", "untrained"),
    ("video_frame", "shuffled"),
    ("video_frame", "latents"),
    ("video_frame", "masked"),
    ("video_frame", "depth"),
    ("video_window", "video_frame"),
    ("video_clip", "video_frame"),
    ("video_window", "image_frame"),
)
"""Reported with their intervals; none of them decides."""
