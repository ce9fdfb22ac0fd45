"""Sources of features that are no transformer's: the VAE, the host itself, the renderer, another clip.

One plug-in backbone, ``miniature``, names them all, so that stores, checkpoints and the evaluator treat an
arm like any generator. Two kinds see pictures (``latents``, ``host``) and are computed like one. Two do not
(``oracle``, ``shuffled``): their features are written into a store from elsewhere, and nobody can compute
them from frames. This module knows no settings file.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vega3d import WanBackbone
from vega3d.backbones import BackboneSpec
from vega3d.cache.jobs import EncodeJob
from vega3d.config import HostConfig
from vega3d.errors import BackboneError
from vega3d.grid import FeatureMap
from vega3d.hosts import family_of
from vega3d.hosts.loading import load_host
from vega3d.inputs.host_processor import load_host_processor
from vega3d.media.frame_plan import FramePlan
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore

Kind = Literal["latents", "host", "oracle", "shuffled"]
PATCH = 2  # latent pixels on a side of a token
WAVES = (1.0, 2.0, 4.0)  # a place in metres / 4, and sines and cosines of so many half turns a unit


@dataclass(frozen=True)
class MiniatureConfig:
    """A source of features.

    Attributes:
        kind: which one.
        path: folder of the Wan or of the host; for a written source, what it was written from.
        channels: width of its maps; filled in when it is made.
        pixels: area of a frame for the VAE.
    """

    kind: Kind = "latents"
    path: str | None = None
    channels: int | None = None
    pixels: int = 128 * 128


class MiniatureEncoder:
    """A frozen encoder that looks at each frame alone.

    Args:
        config: with ``channels`` filled in.
        encode: (T, 3, H, W) frames to (C, T, h, w).
        weights: what the features depend on beside the settings.
    """

    config_class: ClassVar[type] = MiniatureConfig

    def __init__(self, config: MiniatureConfig, encode: Callable[[Tensor], Tensor], weights: str) -> None:
        self.config, self._encode, self._weights = config, encode, weights

    @classmethod
    def from_pretrained(cls, path: str | Path, *, config: MiniatureConfig) -> MiniatureEncoder:
        """Load it.

        Raises:
            BackboneError: nobody can compute this kind from frames.
        """
        if config.kind == "latents":
            return _latents(path, config)
        if config.kind == "host":
            return _host(path, config)
        raise BackboneError(
            f"Features of the kind {config.kind!r} are not computed from frames.",
            got=f"kind={config.kind!r}",
            expected="a store that holds them",
            fix="pass the store, and no backbone",
        )

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        assert self.config.channels is not None
        return BackboneSpec("miniature", self.config.channels, self.config)

    def fingerprint(self) -> str:
        """Digest of settings and weights."""
        return fingerprint_of(self.config, self._weights)

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """One map a clip, one step a frame."""
        clips = [frames] if isinstance(frames, Tensor) else list(frames)
        with torch.no_grad():
            maps = [self._encode(clip) for clip in clips]
        return [FeatureMap(one, tuple((at,) for at in range(one.shape[1]))) for one in maps]


def fingerprint_of(config: MiniatureConfig, weights: str) -> str:
    """Digest of settings, without the place where files lie, and of weights."""
    record = dataclasses.asdict(dataclasses.replace(config, path=None))
    return hashlib.sha256(f"{sorted(record.items())} {weights}".encode()).hexdigest()


def _latents(path: str | Path, config: MiniatureConfig) -> MiniatureEncoder:
    """The clean latents under each token of the video model, four latent pixels a token."""
    from vega3d import WanConfig

    wan = WanBackbone.from_pretrained(path, config=WanConfig(block=0, pixels=config.pixels))

    def encode(clip: Tensor) -> Tensor:
        z = wan.latents(torch.stack([wan.prepare(frame) for frame in clip]))[:, :, 0]  # (T, 16, h, w)
        return torch.nn.functional.pixel_unshuffle(z, PATCH).transpose(0, 1).cpu()  # (64, T, h/2, w/2)

    channels = wan.vae.config.z_dim * PATCH**2
    return MiniatureEncoder(dataclasses.replace(config, channels=channels), encode, wan.fingerprint())


def _host(path: str | Path, config: MiniatureConfig) -> MiniatureEncoder:
    """The host's own visual tokens of each frame, as a picture by itself."""
    host = load_host(HostConfig(path=str(path))).eval()
    processor = load_host_processor(str(path), None).image_processor
    family, merge = family_of(host), int(processor.merge_size)

    def encode(clip: Tensor) -> Tensor:
        found = processor(list(clip), return_tensors="pt")
        grid = found["image_grid_thw"]
        tokens = family.encode(host, "image", found["pixel_values"], grid).pooler_output
        rows, columns = int(grid[0, 1]) // merge, int(grid[0, 2]) // merge
        maps = torch.stack([one.float().unflatten(0, (rows, columns)) for one in tokens])  # (T, h, w, D)
        return maps.permute(3, 0, 1, 2).contiguous()

    width = family.width(host.config)
    total = hashlib.sha256()
    for parameter in host.parameters():
        total.update(parameter.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return MiniatureEncoder(dataclasses.replace(config, channels=width), encode, total.hexdigest())


# ---------------------------------------------------------------- written, not computed


def oracle_channels(points: NDArray[np.float32], depth: NDArray[np.float32]) -> Tensor:
    """Places (T, h, w, 3) in metres and log depth (T, h, w) as features (C, T, h, w)."""
    plain = np.concatenate([points / 4, depth[..., None]], axis=-1)  # (T, h, w, 4)
    waves = [f(np.pi * wave * plain) for wave in WAVES for f in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate([plain, *waves], axis=-1)).float().permute(3, 0, 1, 2)


def write(
    store: FeatureStore,
    jobs: Iterable[EncodeJob],
    features_of: Callable[[EncodeJob], FeatureMap],
    at_once: int = 64,
) -> int:
    """Put the features of jobs into a store that lacks them; returns how many were written."""
    held, written = set(store.digests()), 0
    with store.writer() as writer:
        for job in jobs:
            if job.key.digest not in held:
                held.add(job.key.digest)
                writer.add(job.key, features_of(job), job.files, job.kind)
                written += 1
                if written % at_once == 0:
                    writer.flush()
    return written


def written_store(path: Path, kind: Kind, source: str, channels: int, weights: str) -> FeatureStore:
    """The store of a source that is written."""
    config = MiniatureConfig(kind, source, channels)
    fingerprint = fingerprint_of(config, weights)
    return FeatureStore.create(path, fingerprint=fingerprint, backbone=backbone_record(config))


def frame_of(job: EncodeJob) -> int:
    """The number of the only frame of a job of mode ``frame``."""
    (number,) = job.key.frames
    return number
