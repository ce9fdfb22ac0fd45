"""Memory of a clip in Wan beside the weights: the tensors that torch holds at once, counted from shapes.

Added up by hand from the code: what is alive in the widest moment of the VAE and of a block of the DiT, and
the features that wait until the clip is whole. A GPU's context (some 0.5 GiB), scratch space of its libraries
and what the allocator keeps without using it are not counted.
"""

from __future__ import annotations

from vega3d.backbones.cost import Device
from vega3d.backbones.wan.config import AS_VIDEO, PATCH, WanConfig
from vega3d.backbones.wan.dit import PART
from vega3d.backbones.wan.flops import CONTROL, DitShape, VaeShape, Work

WORD = 4  # bytes of a float32
PICTURES = 15  # channels of pictures beside the VAE's own tensors: decoded, stacked, scaled, padded
# Full-size tensors that the published VAE holds at once, each of its first width, with the convolutions'
# copies of their inputs. For a single frame in 2-D: a residual block's input, and three on the way to its
# output. For a video of 5 or more frames: measured, see docs/estimate.md.
TENSORS = {1: 4.0, 5: 36.6}
LONGER_TENSORS = 40.7
PLAIN = 4 * 16  # channels of latents: clean, their noise, noised, and in the place where they are cut
CONTROLLED = PLAIN + 2 * (16 + CONTROL)  # a VACE's with their control, before and after they are cut


def branch_memory(
    config: WanConfig, dit: DitShape, vae: VaeShape, size: tuple[int, int], work: Work, device: Device
) -> dict[str, int]:
    """Bytes of each moment that may be the widest, without the weights.

    Args:
        config: settings.
        dit: dimensions of the transformer.
        vae: dimensions of the VAE's encoder.
        size: height and width of the tower's picture in pixels.
        work: on the clip.
        device: decides the default micro-batch, and whether the MLP runs in parts.

    Returns:
        ``vae``, ``dit`` with the features that are done by then, and ``features``, the moment when those of
        the clip are put together.
    """
    grid, longest = (size[0] // PATCH) * (size[1] // PATCH), max(work.forwards)
    batch = micro_batch(config, device)
    waiting = grid * sum(work.forwards) * dit.channels * WORD  # of every latent frame, float32
    done = (len(work.forwards) - 1) // batch * batch / len(work.forwards)  # before the last forward
    rotary = grid * longest * dit.channels // dit.heads * WORD
    inside = batch * token_bytes(config, dit.kept(config.block), grid * longest, device) * grid * longest
    channels = CONTROLLED if dit.vace_layers else PLAIN
    latents = channels * 4 * WORD * grid * sum(work.forwards)  # four latent positions a token
    return {
        "vae": _encoding(config, vae, size[0] * size[1], max(work.encodes), device),
        "dit": inside + rotary + int(done * waiting) + latents,
        "features": min(config.noise_samples + 1, 4) * waiting + latents,
    }


def micro_batch(config: WanConfig, device: Device) -> int:
    """Videos in one forward of the DiT, as the backbone decides it."""
    if config.micro_batch is not None:
        return config.micro_batch
    return 1 if device == "cpu" or config.mode in ("window", "joint", "clip") else 8


def _encoding(config: WanConfig, vae: VaeShape, area: int, frames: int, device: Device) -> int:
    """The VAE on one micro-batch of its longest videos."""
    frame_batch = config.micro_batch or (1 if device == "cpu" else 8)
    batch = micro_batch(config, device) if config.mode in AS_VIDEO else frame_batch
    tensors = TENSORS.get(frames, LONGER_TENSORS)
    return int(batch * area * WORD * (tensors * vae.base + PICTURES * frames))


def token_bytes(config: WanConfig, dit: DitShape, tokens: int, device: Device) -> int:
    """Bytes for each token in the widest moment of a block, as ``dit.run_block`` makes its tensors.

    Args:
        config: settings.
        dit: dimensions of what is kept.
        tokens: in one video.
        device: on a CPU the MLP runs in parts of ``PART`` tokens.
    """
    wide, own = dit.channels, 4 if config.dtype == "float32" else 2  # bytes of a number beside the stream
    stream = 4 if config.residual_dtype == "float32" else own
    cast = 4 if own == 2 else 0  # a float32 copy of what is not float32
    share = 1.0 if device == "cuda" else 1 / -(-tokens // PART)
    inner = 2 * own * dit.feed_forward * share + (1 - share) * own * wide  # up, its GELU; parts that are done
    moments = (
        2 * stream * wide + 3 * own * wide + (4 + cast + (own if cast else 0)) * wide,  # a key is turned
        2 * stream * wide + 6 * own * wide,  # query, key, value, what they give, and its projection
        3 * stream * wide + (own + 12 + (own if cast else 0)) * wide,  # cross attention, in closed form
        3 * stream * wide + own * wide + inner,  # the MLP
    )
    hints = len(dit.vace_layers) * stream * wide
    return int(max(moments)) + hints
