"""WanBackbone: decoded frames in, feature maps out.

A clip is split into chunks, the frames that are encoded together as one video (a single frame in the default
mode). Chunks run in micro-batches of one fixed size, the last one padded, so that a feature never depends on
the rest of the batch. It is bit-equal for the same device kind, thread count, library versions and dtype.
Chunks of several clips share a micro-batch if their pictures have one size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vega3d._utils import hub
from vega3d.backbones.diffusion import content_noise, schedule, shared_noise
from vega3d.backbones.frames import in_micro_batches, require_frames
from vega3d.backbones.frozen import digest_of, with_source
from vega3d.backbones.wan import prompt, weights
from vega3d.backbones.wan.chunks import Chunk, find_chunks, prepare, steps, tower_size
from vega3d.backbones.wan.config import AS_VIDEO, WanConfig
from vega3d.backbones.wan.encoder import WanEncoder
from vega3d.errors import BackboneError
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan

CODE_VERSION = 2  # raise it whenever the same settings start to give other features

# Feature maps, one for each clip, by (block, sigma).
Sweep = dict[tuple[int, float], list[FeatureMap]]


class WanBackbone(WanEncoder):
    """A frozen Wan2.1, run for one noisy step, as an encoder of clips.

    Made by ``from_pretrained``, or from loaded parts as ``WanEncoder``, whose ``latents`` and
    ``hidden_states`` it also has.
    """

    config_class: ClassVar[type] = WanConfig

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        config: WanConfig | None = None,
        prompt_embeds: Tensor | None = None,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
    ) -> WanBackbone:
        """Load the blocks up to ``config.block`` and the VAE's encoder.

        Args:
            path: a diffusers folder, an original Wan folder, or a hub id.
            config: settings; the default is the paper's.
            prompt_embeds: (m, text_dim) non-pad tokens; None reads them beside the weights or from the cache.
            dtype: float32 or bfloat16 for the DiT; None takes ``config.dtype``.
            device: None takes a GPU if there is one.

        Raises:
            BackboneError: weights, block or prompt's embedding are missing.
            CheckpointError: a file is missing, damaged, or a pickle.
        """
        config = with_source(config or WanConfig(), path, dtype)
        expected = weights.LAYOUTS
        folder = hub.find_folder(
            path, config.revision, weights.PATTERNS, error=BackboneError, what="Wan", expected=expected
        )
        transformer = weights.load_transformer(folder, config.block, getattr(torch, config.dtype))
        if prompt_embeds is None:
            prompt_embeds = prompt.find_prompt_embeds(path, folder, transformer.config.text_dim)
        return cls(transformer, weights.load_vae(folder), prompt_embeds, config).to(device)

    # ---------------------------------------------------------------- encoding

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips in the config's mode.

        Args:
            frames: one clip (T, 3, H, W) or a sequence of clips: uint8, or float in [0, 1].
            plan: frame plan of each clip; None makes the mode's plan for a host that gets every frame.

        Returns:
            For each clip (C, T', h, w) float32, with the frames that each of the T' steps describes: one step
            a frame, in mode ``clip`` one a latent frame, in ``window`` one a frame of the host.

        Raises:
            InputError: frames or plan are invalid.
        """
        return self.sweep(frames, plan)[(self.config.block, self.config.sigma)]

    def sweep(
        self,
        frames: Tensor | Sequence[Tensor],
        plan: FramePlan | Sequence[FramePlan] | None = None,
        *,
        blocks: Collection[int] | None = None,
        sigmas: Collection[float] | None = None,
    ) -> Sweep:
        """Encode clips at several blocks and noise levels, with one VAE pass and one DiT pass a noise level.

        Args:
            frames: as for a call.
            plan: as for a call.
            blocks: zero-based, up to the config's block; None is that block.
            sigmas: in 0..1; None is the config's.
        """
        clips = [frames] if isinstance(frames, Tensor) else list(frames)
        plans = [plan] if plan is not None and not isinstance(plan, Sequence) else plan
        chunks = find_chunks([require_frames(clip) for clip in clips], plans, self.config)
        keys = list(product(blocks or (self.config.block,), sigmas or (self.config.sigma,)))
        maps: dict[tuple[int, float], dict[int, Tensor]] = {key: {} for key in keys}
        for indices in self._alike(chunks):
            for key, features in self._encode([chunks[index] for index in indices], keys).items():
                maps[key].update(zip(indices, features, strict=True))
        return {key: self._assemble(chunks, features, len(clips)) for key, features in maps.items()}

    def _alike(self, chunks: Sequence[Chunk]) -> list[list[int]]:
        """Group the indices of chunks that fit in one batch: one picture size, one length."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, chunk in enumerate(chunks):
            height, width = chunk.frames.shape[2:]
            key = (*tower_size(height, width, self.config), len(chunk.positions))
            groups.setdefault(key, []).append(index)
        return list(groups.values())

    def _assemble(self, chunks: Sequence[Chunk], maps: Mapping[int, Tensor], clips: int) -> list[FeatureMap]:
        """Join maps (C, t, h, w) of chunks to one map for each clip."""
        resampling = "bilinear" if self.config.resize == "center_crop" else "area"
        assembled = []
        for clip in range(clips):
            indices = [index for index, chunk in enumerate(chunks) if chunk.clip == clip]
            described = tuple(step for index in indices for step in steps(chunks[index], self.config.mode))
            features = torch.cat([maps[index] for index in indices], dim=1)
            assembled.append(FeatureMap(features, described, resampling))  # type: ignore[arg-type]
        return assembled

    def _encode(
        self, chunks: Sequence[Chunk], keys: Sequence[tuple[int, float]]
    ) -> dict[tuple[int, float], list[Tensor]]:
        """Encode chunks of one size; for each block and noise level one (C, t, h, w) float32 a chunk."""
        latents = self._latents_of(chunks)
        maps = {}
        for sigma in dict.fromkeys(sigma for _, sigma in keys):
            blocks = [block for block, other in keys if other == sigma]
            for block, tokens in self._mean_of_samples(chunks, latents, sigma, blocks).items():
                pairs = zip(tokens, chunks, strict=True)
                maps[block, sigma] = [self._as_map(rows, latents, chunk) for rows, chunk in pairs]
        return maps

    def _mean_of_samples(
        self, chunks: Sequence[Chunk], latents: Tensor, sigma: float, blocks: Sequence[int]
    ) -> dict[int, Tensor]:
        timestep, level = schedule(sigma, self.config.schedule)
        total: dict[int, Tensor] = {}
        for draw in range(self.config.noise_samples):
            noise = torch.stack([self._noise(chunk.frames, latents.shape[1:], draw) for chunk in chunks])
            states = self.hidden_states(latents, sigma=level, timestep=timestep, noise=noise, blocks=blocks)
            for block in list(states):  # freed one by one, because a long clip is large
                tokens = states.pop(block).float()
                total[block] = total[block].add_(tokens) if draw else tokens
        return {block: tokens / self.config.noise_samples for block, tokens in total.items()}

    def _as_map(self, tokens: Tensor, latents: Tensor, chunk: Chunk) -> Tensor:
        """Reshape tokens (T * h * w, C) of a chunk to the (C, t, h, w) of its kept steps."""
        shape = (latents.shape[2], latents.shape[3] // 2, latents.shape[4] // 2)
        grid = tokens.reshape(*shape, -1)  # (T, h, w, C)
        maps = grid[-len(steps(chunk, self.config.mode)) :].permute(0, 3, 1, 2)  # (t, C, h, w)
        if self.config.pool is not None:
            maps = F.adaptive_avg_pool2d(maps, self.config.pool)
        return maps.transpose(0, 1).contiguous()

    def prepare(self, frame: Tensor) -> Tensor:
        """Resize a decoded frame (3, H0, W0), uint8 or float in [0, 1], to the tower's picture (3, H, W)."""
        checked = require_frames(frame[None])[0]
        if self.device.type != "cuda" or checked.device.type != "cpu":
            return prepare(checked.to(self.device), self.config)
        return prepare(checked.pin_memory().to(self.device, non_blocking=True), self.config)

    @torch.no_grad()
    def _latents_of(self, chunks: Sequence[Chunk]) -> Tensor:
        """Latents (N, 16, T, h, w) of chunks of one size; modes of single frames encode each frame once."""
        if self.config.mode in AS_VIDEO:
            return in_micro_batches(chunks, self.micro_batch, self._encode_pictures, self._videos)
        frames: dict[tuple[int, int], Tensor] = {}  # by clip and position
        for chunk in chunks:
            keys = [(chunk.clip, position) for position in chunk.positions]
            frames.update(zip(keys, chunk.frames, strict=True))
        rows = {key: row for row, key in enumerate(frames)}
        pictures = list(frames.values())
        latents = in_micro_batches(pictures, self.frame_batch, self._encode_pictures, self._pictures)
        chosen = [[rows[chunk.clip, position] for position in chunk.positions] for chunk in chunks]
        return torch.stack([latents[numbers].squeeze(2).transpose(0, 1) for numbers in chosen])

    def _pictures(self, frames: Sequence[Tensor]) -> Tensor:
        """Frames as pictures (N, 3, 1, H, W)."""
        return torch.stack([self.prepare(frame) for frame in frames]).unsqueeze(2)

    def _videos(self, chunks: Sequence[Chunk]) -> Tensor:
        """Pictures (N, 3, T, H, W) of chunks of one length, the last frame repeated up to T = 1 + 4k."""
        missing = -(len(chunks[0].positions) - 1) % 4
        videos = [[self.prepare(frame) for frame in chunk.frames] for chunk in chunks]
        return torch.stack([torch.stack(video + video[-1:] * missing, dim=1) for video in videos])

    def _noise(self, frames: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
        """Noise of a chunk's latents (16, T, h, w), from its decoded frames (t, 3, H, W)."""
        if self.config.noise == "shared":
            return shared_noise(self.config.seed, shape, draw)
        return content_noise(self.config.seed, frames, shape, draw)

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        if self._digest is None:
            states = [sorted(module.state_dict().items()) for module in (self.dit, self.vae)]
            tensors = [[tensor for _, tensor in state] for state in states] + [[self.prompt_embeds]]
            self._digest = "".join(map(digest_of, tensors))
        settings = sorted(self.config.hashed().items())
        parts = f"{CODE_VERSION} {settings} {self.micro_batch} {self.dtype} {self._digest}"
        return hashlib.sha256(parts.encode()).hexdigest()
