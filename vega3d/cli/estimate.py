"""``vega3d estimate``."""

from __future__ import annotations

import argparse
import json
from typing import Any

EPILOG = """examples:
  vega3d estimate --host 7b --wan t2v-1.3b --frames 8 32 --mode all
  vega3d estimate --host 3b --set block=29 --set noise_samples=4 --json

example: vega3d estimate --wan vace-1.3b --mode vace_reference --frames 16
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "estimate",
        help="parameters, memory, operations and bytes, from configurations alone",
        description="What a host with a generator costs: parameters and what of them is trained, memory, "
        "operations and stored bytes of a clip by mode. Loads no weights; needs no GPU.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="7b", metavar="NAME", help="3b, 7b, 32b, 72b, or folder or hub id")
    parser.add_argument("--wan", default="t2v-1.3b", metavar="NAME", help=_WAN_HELP)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 32], metavar="N", help=_FRAMES_HELP)
    parser.add_argument("--mode", nargs="+", default=[], metavar="MODE", help=_MODE_HELP)
    parser.add_argument("--picture-size", default="640x480", metavar="WxH", help="of the video (640x480)")
    parser.add_argument("--as", dest="medium", default="video", choices=("video", "images"), help=_AS_HELP)
    parser.add_argument("--max-pixels", type=int, default=602112, metavar="N", help=_PIXELS_HELP)
    parser.add_argument(
        "--text-tokens", type=int, default=64, metavar="N", help="of the prompt (default: 64)"
    )
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_SET_HELP)
    parser.add_argument("--fusion", default="gated_residual", metavar="NAME", help="default: gated_residual")
    parser.add_argument("--lora-rank", type=int, default=64, metavar="R", help="default: 64")
    parser.add_argument("--gpus", type=int, default=8, metavar="N", help="of a training run (default: 8)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help=_DEVICE_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Estimate, print."""
    from vega3d.config import FusionConfig
    from vega3d.costs import Setup, estimate
    from vega3d.costs.setup import size_of, with_settings
    from vega3d.costs.tables import as_text

    setup = Setup(
        host=arguments.host,
        wan=arguments.wan,
        frames=tuple(arguments.frames),
        modes=tuple(arguments.mode),
        config=with_settings(Setup().config, arguments.set),
        fusion=FusionConfig(arguments.fusion),
        size=size_of(arguments.picture_size),
        medium=arguments.medium,
        text=arguments.text_tokens,
        max_pixels=arguments.max_pixels,
        rank=arguments.lora_rank,
        gpus=arguments.gpus,
        device=arguments.device,
    )
    costs = estimate(setup)
    print(json.dumps(costs.to_dict(), indent=2) if arguments.json else as_text(costs))
    return 0


_WAN_HELP = "t2v-1.3b (default), t2v-14b, vace-1.3b, vace-14b, or folder or hub id"
_FRAMES_HELP = "frames that the host sees, several for several rows (default: 8 16 32)"
_MODE_HELP = "frame, window, joint, clip, vace_no_reference, vace_reference; several, or all that fit"
_AS_HELP = "whether the host gets one video (default) or so many images"
_PIXELS_HELP = "largest area of a frame in the host's processor (default: 602112, as for a video)"
_SET_HELP = "a setting of the generator: block=20, noise_samples=4, ...; type=NAME for a plug-in"
_DEVICE_HELP = "where the generator runs; decides its default micro-batch (default: cuda)"
