"""Operations of a clip in Wan, counted from shapes: two for each multiply-add.

``wan_flops`` counts the work of the mode, the blocks up to the config's, and the text's keys once. Norms,
activations, rotary positions and resampling are left out (well below 1 %), and so is the padding of a last
micro-batch. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vega3d.backbones.wan.config import AS_VIDEO, PATCH, WanConfig
from vega3d.backbones.wan.shapes import DitShape, VaeShape

TEXT = 512  # slots that cross attention covers, most of them identical padding
CONTROL = 96  # channels of a VACE's control
LATENT = PATCH // 2  # pixels of the picture on one side of a latent position
CHUNK = 4  # frames of a video that the VAE encodes at once, after the first one


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
    cross += tokens * wide * ((1 + dit.num_attention_heads) if slots == 2 else (wide + 2 * slots))
    return {
        "self_projections": 2.0 * 4 * tokens * wide**2,
        "self_attention": 2.0 * 2 * tokens**2 * wide,
        "cross_attention": 2.0 * cross,
        "feed_forward": 2.0 * 2 * tokens * wide * dit.ffn_dim,
    }


def _forward(dit: DitShape, tokens: int, slots: int) -> dict[str, float]:
    """Operations of one forward of the DiT on one video, without the condition."""
    block, patch, controls = _block(dit, tokens, slots), 4 * dit.channels, len(dit.vace_layers)
    side = 2.0 * tokens * (patch * CONTROL + (controls + 1) * dit.channels**2)  # patches, into and out of
    return {
        **{name: dit.num_layers * value for name, value in block.items()},
        "patches": 2.0 * tokens * patch * dit.in_channels,
        "vace": side + controls * sum(block.values()) if controls else 0.0,
    }


def _condition(dit: DitShape, slots: int) -> float:
    """Operations of prompt, timestep, and the text keys and values of each block.

    In closed form the mixed output of a block is included.
    """
    prompt = slots * (dit.text_dim + dit.channels) * dit.channels
    timestep = (dit.freq_dim + 7 * dit.channels) * dit.channels
    keys = (2 * slots + (2 if slots == 2 else 0)) * dit.channels**2
    return 2.0 * (prompt + timestep + (dit.num_layers + len(dit.vace_layers)) * keys)


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
    area, last = height * width // LATENT**2, vae.base_dim * vae.dim_mult[-1]
    head = 9 * last * vae.z_dim if flat else 27 * last * 2 * vae.z_dim + (2 * vae.z_dim) ** 2
    return 2.0 * (total + len(chunks) * area * head)


def _chunk(vae: VaeShape, area: int, frames: int, kernel: int, *, first: bool) -> float:
    """Multiply-adds of a chunk up to the head; ``kernel`` is 27 for 3 x 3 x 3 convolutions, 9 for 3 x 3."""
    last, total = vae.base_dim, kernel * 3 * vae.base_dim * area * frames
    for stage, multiple in enumerate(vae.dim_mult):
        wide = vae.base_dim * multiple
        for _ in range(vae.num_res_blocks):
            total += area * frames * _residual(last, wide, kernel)
            last = wide
        if stage + 1 < len(vae.dim_mult):
            area //= 4
            total += area * frames * 9 * wide**2
            if vae.temperal_downsample[stage] and not first:  # a first frame skips it
                frames //= 2
                total += area * frames * 3 * wide**2
    middle = 2 * _residual(last, last, kernel) + 4 * last**2 + 2 * area * last
    return total + area * frames * middle


def _residual(inside: int, outside: int, kernel: int) -> int:
    """Multiply-adds of a residual block at one position: two convolutions, and a shortcut."""
    shortcut = inside * outside if inside != outside else 0
    return kernel * (inside + outside) * outside + shortcut
