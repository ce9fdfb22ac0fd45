"""WanBackbone: decoded frames in, feature maps out.

A clip is cut into runs, the frames that are encoded together as one video (a single frame in the default
mode). Runs go through in micro-batches of one fixed size, the last one padded, so that a feature never
depends on what else was in the batch: bit-equal for the same device kind, thread count, library versions
and dtype. Runs of several clips share a micro-batch where their pictures have one size.

It is a plain object, not an ``nn.Module``: frozen, shared by copies of a model, in no state dict.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vega3d.backbones import BackboneSpec
from vega3d.backbones.diffusion import content_noise, schedule, shared_noise
from vega3d.backbones.loading import dtype_name
from vega3d.backbones.wan import picture, prompt, weights
from vega3d.backbones.wan.flops import DitShape, VaeShape, wan_flops
from vega3d.backbones.wan.runs import AS_VIDEO, Run, find_runs, steps
from vega3d.backbones.wan.tower import WanTower
from vega3d.config import WanConfig
from vega3d.grid import FeatureMap

if TYPE_CHECKING:
    from vega3d.video import FramePlan

CODE_VERSION = 2  # raise it whenever the same settings start to give other features

Sweep = dict[tuple[int, float], list[FeatureMap]]
"""{(block, sigma): one map a clip}."""


class WanBackbone(WanTower):
    """A frozen Wan2.1, run for one noisy step, as an encoder of clips.

    Made by ``from_pretrained``, or from loaded parts as ``WanTower``, whose ``latents`` and ``hidden_states``
    it also has.
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
            prompt_embeds: (m, text_dim) non-pad tokens; None looks beside the weights, then in the cache.
            dtype: float32 or bfloat16 for the DiT; None takes ``config.dtype``.
            device: None takes a GPU if there is one.

        Raises:
            BackboneError: nothing is there, a block does not exist, or the prompt's embedding is missing.
            CheckpointError: a file is missing, damaged, or a pickle.
        """
        config = config or WanConfig()
        if dtype is not None:
            config = dataclasses.replace(config, dtype=dtype_name(dtype))
        folder = weights.find_folder(path, config.revision)
        stop = "stop" in config.shortcuts
        transformer = weights.load_transformer(folder, config.block, getattr(torch, config.dtype), stop=stop)
        if prompt_embeds is None:
            prompt_embeds = prompt.find_prompt_embeds(path, folder, transformer.config.text_dim)
        settings = dataclasses.replace(config, path=str(path))
        backbone = cls(transformer, weights.load_vae(folder), prompt_embeds, settings)
        return backbone.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        assert self.config.channels is not None
        return BackboneSpec("wan", self.config.channels, self.config)

    def __deepcopy__(self, memo: dict[int, Any]) -> WanBackbone:
        return self  # frozen: copies of a model share it

    # ---------------------------------------------------------------- encoding

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips in the config's mode.

        Args:
            frames: one clip (T, 3, H, W) or a sequence of clips: uint8, or float in [0, 1].
            plan: for each clip which frames are encoded together; None lets the mode decide, as if the
                host saw every frame.

        Returns:
            For each clip (C, T', h, w) float32 and what each of the T' steps describes: one step a frame, in
            mode ``clip`` one a latent frame, in ``window`` one a frame of the host.

        Raises:
            InputError: frames or plan cannot be used.
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
        """The same for several blocks and noise levels: one VAE pass, one DiT pass a noise level.

        Args:
            frames: as for a call.
            plan: as for a call.
            blocks: zero-based, up to the config's block; None is that block.
            sigmas: in 0..1; None is the config's.
        """
        clips = [frames] if isinstance(frames, Tensor) else list(frames)
        plans = [plan] if plan is not None and not isinstance(plan, Sequence) else plan
        clips = [picture.require_frames(clip) for clip in clips]
        runs, _ = find_runs(clips, plans, self.config)
        keys = [
            (block, sigma)
            for block in blocks or (self.config.block,)
            for sigma in sigmas or (self.config.sigma,)
        ]
        found: dict[tuple[int, float], list[Tensor]] = {key: [torch.empty(0)] * len(runs) for key in keys}
        for places in self._alike(runs):
            encoded = self._encode([runs[place] for place in places], keys)
            for key, maps in encoded.items():
                for place, one in zip(places, maps, strict=True):
                    found[key][place] = one
        return {key: self._assemble(runs, maps, len(clips)) for key, maps in found.items()}

    def _alike(self, runs: Sequence[Run]) -> list[list[int]]:
        """Places of runs that fit in one batch: one picture size, one length."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, run in enumerate(runs):
            size = picture.tower_size(run.frames.shape[2], run.frames.shape[3], self.config)
            groups.setdefault((*size, len(run.positions)), []).append(place)
        return list(groups.values())

    def _assemble(self, runs: Sequence[Run], maps: Sequence[Tensor], clips: int) -> list[FeatureMap]:
        """Maps (C, t, h, w) of runs as one map a clip."""
        resampling = "bilinear" if self.config.picture == "reference" else "area"
        found = []
        for clip in range(clips):
            own = [place for place, run in enumerate(runs) if run.clip == clip]
            described = tuple(step for place in own for step in steps(runs[place], self.config.mode))
            features = torch.cat([maps[place] for place in own], dim=1)
            found.append(FeatureMap(features, described, resampling))  # type: ignore[arg-type]
        return found

    def _encode(
        self, runs: Sequence[Run], keys: Sequence[tuple[int, float]]
    ) -> dict[tuple[int, float], list[Tensor]]:
        """Runs of one size: for each block and noise level one (C, t, h, w) float32 a run."""
        latents = self._latents_of(runs)
        found = {}
        for sigma in dict.fromkeys(sigma for _, sigma in keys):
            blocks = [block for block, other in keys if other == sigma]
            for block, tokens in self._mean_of_draws(runs, latents, sigma, blocks).items():
                found[block, sigma] = [
                    self._as_map(one, latents, run) for one, run in zip(tokens, runs, strict=True)
                ]
        return found

    def _mean_of_draws(
        self, runs: Sequence[Run], latents: Tensor, sigma: float, blocks: Sequence[int]
    ) -> dict[int, Tensor]:
        timestep, level = schedule(sigma, self.config.schedule)
        total: dict[int, Tensor] = {}
        for draw in range(self.config.draws):
            noise = torch.stack([self._noise(run.frames, latents.shape[1:], draw) for run in runs])
            states = self.hidden_states(latents, sigma=level, timestep=timestep, noise=noise, blocks=blocks)
            for block in list(states):  # let go one by one: a long clip is large
                tokens = states.pop(block).float()
                total[block] = total[block].add_(tokens) if draw else tokens
        return {block: tokens / self.config.draws for block, tokens in total.items()}

    def _as_map(self, tokens: Tensor, latents: Tensor, run: Run) -> Tensor:
        """Tokens (T * h * w, C) of a run as the (C, t, h, w) of its kept steps."""
        shape = (latents.shape[2], latents.shape[3] // 2, latents.shape[4] // 2)
        grid = tokens.reshape(*shape, -1)  # (T, h, w, C)
        maps = grid[-len(steps(run, self.config.mode)) :].permute(0, 3, 1, 2)  # (t, C, h, w)
        if self.config.pool is not None:
            maps = F.adaptive_avg_pool2d(maps, self.config.pool)
        return maps.transpose(0, 1).contiguous()

    def prepare(self, frame: Tensor) -> Tensor:
        """One decoded frame (3, H0, W0) as the tower's picture (3, H, W), float32 in [0, 1].

        Args:
            frame: uint8, or float in [0, 1].
        """
        checked = picture.require_frames(frame[None])[0]
        return picture.prepare(self._moved(checked), self.config)

    def _moved(self, frame: Tensor) -> Tensor:
        """On the backbone's device; to a GPU by a copy that does not wait."""
        if self.device.type != "cuda" or frame.device.type != "cpu":
            return frame.to(self.device)
        return frame.pin_memory().to(self.device, non_blocking=True)

    def _latents_of(self, runs: Sequence[Run]) -> Tensor:
        """Latents (N, 16, T, h, w) of runs of one size."""
        if self.config.mode in AS_VIDEO:
            return self._by_part(runs, self.micro_batch, lambda part: self.latents(self._videos(part)))
        if "encodes" not in self.config.shortcuts:  # every frame of every run, as often as it occurs
            singles = [(run, at) for run in runs for at in range(len(run.positions))]
            latents = self._frame_latents(singles).squeeze(2)  # (runs * T, 16, h, w)
            return latents.reshape(len(runs), -1, *latents.shape[1:]).transpose(1, 2)
        once = {(run.clip, at): (run, place) for run in runs for place, at in enumerate(run.positions)}
        order = {key: number for number, key in enumerate(once)}
        latents = self._frame_latents(list(once.values()))  # (frames, 16, 1, h, w)
        chosen = [[order[run.clip, at] for at in run.positions] for run in runs]
        return torch.stack([latents[numbers].squeeze(2).transpose(0, 1) for numbers in chosen])

    def _frame_latents(self, frames: Sequence[tuple[Run, int]]) -> Tensor:
        def encode(part: Sequence[tuple[Run, int]]) -> Tensor:
            return self.latents(torch.stack([self.prepare(run.frames[at]) for run, at in part]))

        return self._by_part(frames, self._frame_batch, encode)

    def _videos(self, runs: Sequence[Run]) -> Tensor:
        """Pictures (N, 3, T, H, W) of runs of one length, the last frame repeated up to T = 1 + 4k."""
        missing = -(len(runs[0].positions) - 1) % 4
        videos = [[self.prepare(frame) for frame in run.frames] for run in runs]
        return torch.stack([torch.stack(video + video[-1:] * missing, dim=1) for video in videos])

    @staticmethod
    def _by_part(items: Sequence[Any], size: int, encode: Callable[[Any], Tensor]) -> Tensor:
        """Only one micro-batch of pictures is in memory at a time; latents are small."""
        return torch.cat([encode(items[first : first + size]) for first in range(0, len(items), size)])

    def _noise(self, frames: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
        """Noise of a run's latents (16, T, h, w), from its decoded frames (t, 3, H, W)."""
        if self.config.noise == "shared":
            return shared_noise(self.config.seed, shape, draw)
        return content_noise(self.config.seed, frames, shape, draw)

    # ---------------------------------------------------------------- identity and cost

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        if self._digest is None:
            self._digest = _digest(self.dit) + _digest(self.vae) + _digest_of([self.prompt_embeds])
        free = _idle(self.config)
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        parts = f"{CODE_VERSION} {sorted(settings.items())} {self.micro_batch} {self.dtype} {self._digest}"
        return hashlib.sha256(parts.encode()).hexdigest()

    def flops(self, height: int, width: int, frames: int = 1) -> float:
        """Floating-point operations (2 a multiply-add) for a clip of decoded frames of height x width pixels.

        With what the shortcut ``constants`` computes once and keeps: see ``flops.wan_flops`` for the parts.
        """
        shapes = (DitShape.from_diffusers(self.dit.config), VaeShape.from_diffusers(self.vae.config))
        size = picture.tower_size(height, width, self.config)
        return wan_flops(self.config, *shapes, *size, frames, len(self.prompt_embeds)).total


def _idle(config: WanConfig) -> set[str]:
    """Settings that have no part in what is computed under the others."""
    used = {
        "window": {"window"},
        "joint": {"length"},
        "clip": {"length", "between"},
    }.get(config.mode, set())
    used |= {"whole": {"pixels", "max_tokens"}, "reference": {"size"}}[config.picture]
    optional = {"window", "length", "between", "pixels", "max_tokens", "size"}
    return {"path", "revision", "micro_batch"} | (optional - used)


def _digest(module: Any) -> str:
    state = module.state_dict()
    return _digest_of([state[name] for name in sorted(state)])


def _digest_of(tensors: Sequence[Tensor]) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
