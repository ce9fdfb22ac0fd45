"""The arms of the motion plan: what the language model gets beside one picture, one entry each.

This module computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["none", "wan", "latents", "small", "motion", "depth", "host"]
Mode = Literal["window", "joint", "clip"]


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        name: as configs call it.
        title: as tables call it.
        source: where features come from.
        encoder: which transformer, for the source ``wan``.
        mode: how its five frames are encoded.
        clean: it was trained on clean latents, so it is read without noise.
        pictures: pictures that the host gets: 1, or the same five frames.
        trains_tower: the host's vision tower is trained, too.
    """

    name: str
    title: str
    source: Source
    encoder: str = "video"
    mode: Mode = "window"
    clean: bool = False
    pictures: int = 1
    trains_tower: bool = False

    @property
    def is_stored(self) -> bool:
        """True if features are computed once, before any language model."""
        return self.source in ("wan", "latents", "motion", "depth", "host")


_ALL = (
    Arm("host_five_frozen", "host, the same five frames", "none", pictures=5),
    Arm(
        "host_five_trained",
        "host, the same five frames, tower trained",
        "none",
        pictures=5,
        trains_tower=True,
    ),
    Arm("video_window", "Wan, video, window", "wan"),
    Arm("video_joint", "Wan, video, joint", "wan", mode="joint"),
    Arm("video_clip", "Wan, video, clip", "wan", mode="clip"),
    Arm("image_window", "Wan, single images, window", "wan", "image"),
    Arm("masked_window", "masked autoencoder, window", "wan", "masked", clean=True),
    Arm("untrained_window", "Wan, untrained, window", "wan", "untrained"),
    Arm("latents_window", "VAE latents, window", "latents"),
    Arm("small", "small encoder, from the answers alone", "small"),
    Arm("true_motion", "true motion", "motion"),
    Arm("host_twice", "host, as many extra parameters", "host"),
    Arm("true_depth", "true depth", "depth"),
)
ARMS = {arm.name: arm for arm in _ALL}
SWAPPED = "another room's"
VIDEO, HOSTS = "video_window", ("host_five_frozen", "host_five_trained")
RIVALS = ("image_window", "latents_window", "small")
"""P2 is claimed only if video beats each of these."""
BY_CONSTRUCTION = ("host, one picture", "host, as many extra parameters")
"""At 50 on motion, whatever is trained: they see one picture, and twins share it."""
