"""Operations of a clip in Wan, counted from shapes: two for each multiply-add.

``wan_flops`` counts the work of the mode, the blocks up to the config's, and the text's keys once. Norms,
activations, rotary positions and resampling are left out (well below 1 %), and so is the padding of a last
micro-batch. Imports no torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vega3d.backbones.wan.config import AS_VIDEO, PATCH, WanConfig

TEXT = 512  # slots that cross attention covers, most of them identical padding
CONTROL = 96  # channels of a VACE's control
LATENT = PATCH // 2  # pixels of the picture on one side of a latent position
CHUNK = 4  # frames of a video that the VAE encodes at once, after the first one


@dataclass(frozen=True)
class DitShape:
    """Dimensions of a Wan transformer.

    Attributes:
        channels: C, width of the residual stream.
        feed_forward: inner width of the MLPs.
        heads: heads of attention.
        layers: number of main blocks.
        text_dim: width of the prompt's embedding.
        freq_dim: width of the timestep's sinusoid.
        latents: channels of a latent.
        vace_layers: main blocks that a VACE's control blocks belong to; empty for a text-to-video Wan.
    """

    channels: int
    feed_forward: int
    heads: int
    layers: int
    text_dim: int = 4096
    freq_dim: int = 256
    latents: int = 16
    vace_layers: tuple[int, ...] = ()

    @classmethod
    def from_diffusers(cls, settings: Mapping[str, Any]) -> DitShape:
        """Read a diffusers configuration, from disk or of a loaded transformer."""
        return cls(
            channels=settings["num_attention_heads"] * settings["attention_head_dim"],
            feed_forward=settings["ffn_dim"],
            heads=settings["num_attention_heads"],
            layers=settings["num_layers"],
            text_dim=settings.get("text_dim", 4096),
            freq_dim=settings.get("freq_dim", 256),
            latents=settings.get("in_channels", 16),
            vace_layers=tuple(settings.get("vace_layers") or ()),
        )

    def kept(self, block: int) -> DitShape:
        """Dimensions of the part up to ``block``."""
        controls = tuple(layer for layer in self.vace_layers if layer <= block)
        return dataclasses.replace(self, layers=block + 1, vace_layers=controls)


@dataclass(frozen=True)
class VaeShape:
    """Dimensions of a Wan VAE's encoder; the defaults are the published one's.

    Attributes:
        base: channels after the first convolution.
        multiples: of ``base``, one a stage; every stage but the last halves the picture.
        residuals: residual blocks in a stage.
        z: channels of the latent.
        temporal: True for each stage that also halves the time; the last stage has no entry.
    """

    base: int = 96
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    residuals: int = 2
    z: int = 16
    temporal: tuple[bool, ...] = (False, True, True)

    @classmethod
    def from_diffusers(cls, settings: Mapping[str, Any]) -> VaeShape:
        """Read a diffusers configuration, from disk or of a loaded VAE."""
        return cls(
            base=settings["base_dim"],
            multiples=tuple(settings["dim_mult"]),
            residuals=settings["num_res_blocks"],
            z=settings["z_dim"],
            temporal=tuple(settings["temperal_downsample"]),  # diffusers' spelling
        )


@dataclass(frozen=True)
class Work:
    """Forwards for the chunks of a clip.

    Attributes:
        encodes: number of frames of each video that the VAE encodes; a single picture is a video of one.
        forwards: number of latent frames of each forward of the DiT.
        steps: number of latent frames that become features.
    """

    encodes: tuple[int, ...]
    forwards: tuple[int, ...]
    steps: int

    @classmethod
    def of(cls, config: WanConfig, chunks: Sequence[Sequence[int]]) -> Work:
        """Count the work on the chunks of a plan, each given by the positions of its frames."""
        lengths = tuple(len(chunk) for chunk in chunks)
        if config.mode in AS_VIDEO:
            latents = tuple(1 + -(-(length - 1) // CHUNK) for length in lengths)
            steps = sum(latents) if config.mode == "clip" else len(latents)
            return cls(tuple(CHUNK * count - 3 for count in latents), latents, steps)
        frames = len({position for chunk in chunks for position in chunk})
        return cls((1,) * frames, lengths, sum(lengths) if config.mode == "joint" else len(lengths))


def wan_flops(
    config: WanConfig,
    dit: DitShape,
    vae: VaeShape,
    size: tuple[int, int],
    work: Work,
    prompt_tokens: int = 1,
) -> dict[str, float]:
    """Operations of a clip by part.

    Args:
        config: block and number of noise samples.
        dit: dimensions of the transformer, before or after blocks were left out.
        vae: dimensions of the VAE.
        size: height and width of the tower's picture in pixels, multiples of 16.
        work: on the clip.
        prompt_tokens: m, non-pad tokens of the prompt; the empty prompt has one.

    Returns:
        ``vae``, ``patches``, ``self_projections``, ``self_attention``, ``cross_attention``, ``feed_forward``,
        ``vace`` (the control branch), and ``condition``: prompt, timestep and the text's keys, once for all.
    """
    shape, grid = dit.kept(config.block), (size[0] // PATCH) * (size[1] // PATCH)
    slots = min(prompt_tokens + 1, TEXT)
    parts = [_forward(shape, grid * latents, slots) for latents in work.forwards * config.noise_samples]
    return {
        "vae": sum(encoder_flops(vae, *size, frames) for frames in work.encodes),
        **{name: sum(part[name] for part in parts) for name in parts[0]},
        "condition": _condition(shape, slots),
    }


def _block(dit: DitShape, tokens: int, slots: int) -> dict[str, float]:
    """Operations of one block on one video of ``tokens`` tokens; two text slots have a closed form."""
    wide = dit.channels
    cross = tokens * wide**2  # the query projection
    cross += tokens * wide * ((1 + dit.heads) if slots == 2 else (wide + 2 * slots))
    return {
        "self_projections": 2.0 * 4 * tokens * wide**2,
        "self_attention": 2.0 * 2 * tokens**2 * wide,
        "cross_attention": 2.0 * cross,
        "feed_forward": 2.0 * 2 * tokens * wide * dit.feed_forward,
    }


def _forward(dit: DitShape, tokens: int, slots: int) -> dict[str, float]:
    """Operations of one forward of the DiT on one video, without the condition."""
    block, patch, controls = _block(dit, tokens, slots), 4 * dit.channels, len(dit.vace_layers)
    side = 2.0 * tokens * (patch * CONTROL + (controls + 1) * dit.channels**2)  # patches, into and out of
    return {
        **{name: dit.layers * value for name, value in block.items()},
        "patches": 2.0 * tokens * patch * dit.latents,
        "vace": side + controls * sum(block.values()) if controls else 0.0,
    }


def _condition(dit: DitShape, slots: int) -> float:
    """Operations of prompt, timestep, and the text keys and values of each block.

    In closed form the mixed output of a block is included.
    """
    prompt = slots * (dit.text_dim + dit.channels) * dit.channels
    timestep = (dit.freq_dim + 7 * dit.channels) * dit.channels
    keys = (2 * slots + (2 if slots == 2 else 0)) * dit.channels**2
    return 2.0 * (prompt + timestep + (dit.layers + len(dit.vace_layers)) * keys)


def encoder_flops(vae: VaeShape, height: int, width: int, frames: int) -> float:
    """Operations of the VAE's encoder on one video: its first frame, then chunks of four.

    A single frame runs as 2-D convolutions with the head folded into one.

    Args:
        vae: dimensions.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        frames: 1, 5, 9, ...
    """
    flat = frames == 1
    chunks, kernel = [1, *[CHUNK] * ((frames - 1) // CHUNK)], 9 if flat else 27
    total = sum(_chunk(vae, height * width, n, kernel, first=not index) for index, n in enumerate(chunks))
    area, last = height * width // LATENT**2, vae.base * vae.multiples[-1]
    head = 9 * last * vae.z if flat else 27 * last * 2 * vae.z + (2 * vae.z) ** 2
    return 2.0 * (total + len(chunks) * area * head)


def _chunk(vae: VaeShape, area: int, frames: int, kernel: int, *, first: bool) -> float:
    """Multiply-adds of a chunk up to the head; ``kernel`` is 27 for 3 x 3 x 3 convolutions, 9 for 3 x 3."""
    last, total = vae.base, kernel * 3 * vae.base * area * frames
    for stage, multiple in enumerate(vae.multiples):
        wide = vae.base * multiple
        for _ in range(vae.residuals):
            total += area * frames * _residual(last, wide, kernel)
            last = wide
        if stage + 1 < len(vae.multiples):
            area //= 4
            total += area * frames * 9 * wide**2
            if vae.temporal[stage] and not first:  # a first frame skips it
                frames //= 2
                total += area * frames * 3 * wide**2
    middle = 2 * _residual(last, last, kernel) + 4 * last**2 + 2 * area * last
    return total + area * frames * middle


def _residual(inside: int, outside: int, kernel: int) -> int:
    """Multiply-adds of a residual block at one position: two convolutions, and a shortcut."""
    shortcut = inside * outside if inside != outside else 0
    return kernel * (inside + outside) * outside + shortcut
