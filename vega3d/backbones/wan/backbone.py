"""WanBackbone: decoded frames in, feature maps out.

A plan splits a clip into chunks, the frames that are encoded together as one video (a single frame in the
default mode). The mode selects the latents that are kept of each chunk: the last one of a micro-clip, that of
the frame after a reference, or all. Chunks run in micro-batches of one fixed size, the last one padded, so
that a feature never depends on the rest of the batch. It is bit-equal for the same device kind, thread count,
library versions and dtype. Chunks of several clips share a micro-batch if their pictures have one size.

``fit`` (the default) resizes the whole picture with antialias and keeps its aspect, so every host can use the
features, whatever it crops. ``center_crop`` repeats the released code: cover, crop the centre, no antialias.
It cuts off up to 44 % of the height.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vega3d._utils import hub
from vega3d.backbones.frames import (
    content_noise,
    in_micro_batches,
    require_frames,
    schedule,
    shared_noise,
    unit,
)
from vega3d.backbones.frozen import digest_of, with_source
from vega3d.backbones.wan import prompt, weights
from vega3d.backbones.wan.config import AS_VIDEO, PATCH, Mode, WanConfig
from vega3d.backbones.wan.encoder import WanEncoder
from vega3d.errors import BackboneError, InputError
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan

CODE_VERSION = 2  # raise it whenever the same settings start to give other features

# Feature maps, one for each clip, by (block, sigma).
Sweep = dict[tuple[int, float], list[FeatureMap]]
LONGEST = 1024  # tokens on one side that Wan's rotary positions reach
MAX_COVER = 1 << 26  # pixels of the picture that ``center_crop`` resizes to before it crops
# Positions that each kept latent frame describes.
Steps = tuple[tuple[int, ...], ...]


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


@dataclass(frozen=True)
class Chunk:
    """Frames of one clip that are encoded together.

    Attributes:
        clip: index of the clip in the call.
        positions: positions of the frames in the clip.
        frames: the decoded frames (t, 3, H, W).
    """

    clip: int
    positions: tuple[int, ...]
    frames: Tensor


def find_chunks(clips: Sequence[Tensor], plans: Sequence[FramePlan] | None, config: WanConfig) -> list[Chunk]:
    """Find the chunks of all clips, in order; without plans, those of the settings' own plan.

    Raises:
        InputError: a plan does not fit its clip, or was made for another mode.
    """
    plans = plans if plans is not None else [config.frame_plan(range(len(clip))) for clip in clips]
    if len(plans) != len(clips):
        raise _unfit(f"{len(plans)} plans for {len(clips)} clips", "one plan for each clip")
    chunks: list[Chunk] = []
    for index, (clip, plan) in enumerate(zip(clips, plans, strict=True)):
        if len(plan.generative) != len(clip):
            raise _unfit(f"{len(clip)} frames in clip {index}", f"the plan's {len(plan.generative)} frames")
        _require_mode(plan, config)
        chunks += [Chunk(index, run, clip[list(run)]) for run in plan.runs]
    return chunks


def steps(chunk: Chunk, mode: Mode) -> Steps:
    """Positions that each kept latent frame of a chunk describes, in order."""
    if mode == "joint":
        return tuple((position,) for position in chunk.positions)
    if mode != "clip":
        return (chunk.positions[-1:],)
    latents = 1 + -(-(len(chunk.positions) - 1) // 4)  # an incomplete last group of four is padded
    return tuple(
        chunk.positions[:1] if latent == 0 else chunk.positions[4 * latent - 3 : 4 * latent + 1]
        for latent in range(latents)
    )


def _require_mode(plan: FramePlan, config: WanConfig) -> None:
    lengths, latents, mode = {len(run) for run in plan.runs}, config.max_latent_frames, config.mode
    longest = {"joint": latents, "clip": 4 * latents - 3, "window": config.window, "vace_reference": 2}
    expected = longest.get(mode, 1)
    if max(lengths) > expected or (mode not in ("joint", "clip") and lengths != {expected}):
        raise _unfit(f"chunks of {sorted(lengths)} frames", f"chunks of mode {mode!r} ({expected})")


def _unfit(got: str, expected: str) -> InputError:
    fix = "plan with backbone.config.frame_plan(frames), or give processor and backbone the same config"
    return InputError(f"Invalid frames or plan: {got}.", got=got, expected=expected, fix=fix)


def tower_size(height: int, width: int, config: WanConfig) -> tuple[int, int]:
    """Height and width of the tower's picture, multiples of 16, for a frame of height x width pixels.

    ``fit``: the aspect of the frame, the area of ``config.pixels``, never more than
    ``config.max_tokens`` tokens, never fewer than one token a side. ``center_crop``: ``config.size``.
    """
    if config.resize == "center_crop":
        return config.size[1], config.size[0]
    rows, columns = _token_grid(height, width, config)
    return rows * PATCH, columns * PATCH


def _token_grid(height: int, width: int, config: WanConfig) -> tuple[int, int]:
    """Integer grid that is nearest to the ideal one, by ratios, among those within the limits."""
    budget = min(config.pixels / PATCH**2, config.max_tokens)
    rows, columns = math.sqrt(budget * height / width), math.sqrt(budget * width / height)  # ideal
    near = product(_neighbours(rows, config.max_tokens), _neighbours(columns, config.max_tokens))
    fitting = [grid for grid in near if grid[0] * grid[1] <= config.max_tokens]
    return min(fitting, key=lambda grid: math.hypot(math.log(grid[0] / rows), math.log(grid[1] / columns)))


def _neighbours(side: float, most: int) -> tuple[int, ...]:
    limit = min(LONGEST, most)
    return tuple(sorted({min(max(1, number), limit) for number in (math.floor(side), math.ceil(side))}))


def prepare(frame: Tensor, config: WanConfig) -> Tensor:
    """Resize a decoded, checked frame (3, H0, W0) to the tower's picture (3, H, W), float32 in [0, 1]."""
    height, width = frame.shape[-2:]
    size = tower_size(height, width, config)
    picture = unit(frame)[None]  # (1, 3, H0, W0)
    if config.resize == "center_crop":
        picture = (_cover_and_crop(picture * 2.0 - 1.0, *size) + 1.0) / 2.0
    elif (height, width) != size:
        picture = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True)
    return picture[0].clamp(0.0, 1.0)


def _cover_and_crop(picture: Tensor, height: int, width: int) -> Tensor:
    """Resize bilinearly without antialias to the smallest covering picture, then crop its centre."""
    scale = max(height / picture.shape[2], width / picture.shape[3])
    cover = (round(picture.shape[2] * scale), round(picture.shape[3] * scale))  # halves go to even
    if cover[0] * cover[1] > MAX_COVER:
        got = f"{picture.shape[3]} x {picture.shape[2]} pixels, covering at {cover[1]} x {cover[0]}"
        expected = f"at most {MAX_COVER} pixels when it covers {width} x {height}"
        fix = "use WanConfig(resize='fit'), which never crops"
        raise InputError("Invalid frame: too elongated.", got=got, expected=expected, fix=fix)
    resized = F.interpolate(picture, size=cover, mode="bilinear", align_corners=False)
    top, left = (cover[0] - height) // 2, (cover[1] - width) // 2
    return resized[:, :, top : top + height, left : left + width]
