"""``vega3d estimate``."""

from __future__ import annotations

import argparse
import json

from vega3d.cli._command import Commands

EPILOG = """examples:
  vega3d estimate 7b --wan t2v-1.3b --frames 8 32 --mode all
  vega3d estimate 3b --set block=29 --set noise_samples=4 --json

example: vega3d estimate --wan vace-1.3b --mode vace_reference --frames 16
"""
_WAN = "t2v-1.3b (default), t2v-14b, vace-1.3b, vace-14b, or folder or hub id"
_FRAMES = "frames that the host sees, several for several rows (default: 8 16 32)"
_MODE = "frame, window, joint, clip, vace_no_reference, vace_reference; several, or all that fit"
_AS = "whether the host gets one video (default) or so many images"
_PIXELS = "largest area of a frame in the host's processor (default: 602112, as for a video)"
_SET = "a setting of the generator: block=20, noise_samples=4, ...; type=NAME for a plug-in"
_DEVICE = "where the generator runs; decides its default micro-batch (default: cuda)"


def add_parser(commands: Commands) -> None:
    """Register the command; options have the names of fields of ``costs.Setup`` in what is parsed."""
    add = commands.add(
        _estimate,
        help="parameters, memory, operations and bytes, from configurations alone",
        description="What a host with a generator costs: parameters and what of them is trained, memory, "
        "operations and stored bytes of a clip by mode. Loads no weights; needs no GPU.",
        epilog=EPILOG,
    )
    add("name", nargs="?", metavar="HOST", help="3b, 7b (default), 32b, 72b, or folder or hub id")
    add("--host", metavar="NAME", help="the same as HOST")
    add("--wan", default="t2v-1.3b", metavar="NAME", help=_WAN)
    add("--frames", type=int, nargs="+", default=[8, 16, 32], metavar="N", help=_FRAMES)
    add("--mode", dest="modes", nargs="+", default=[], metavar="MODE", help=_MODE)
    add("--picture-size", dest="size", default="640x480", metavar="WxH", help="of the video (640x480)")
    add("--as", dest="medium", default="video", choices=("video", "images"), help=_AS)
    add("--max-pixels", type=int, default=602112, metavar="N", help=_PIXELS)
    add("--text-tokens", dest="text", type=int, default=64, metavar="N", help="of the prompt (default: 64)")
    add("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=_SET)
    add("--fusion", default="gated_residual", metavar="NAME", help="default: gated_residual")
    add("--lora-rank", dest="rank", type=int, default=64, metavar="R", help="default: 64")
    add("--gpus", type=int, default=8, metavar="N", help="of a training run (default: 8)")
    add("--device", default="cuda", choices=("cuda", "cpu"), help=_DEVICE)
    add("--json", action="store_true", help="print one JSON object")


def _estimate(arguments: argparse.Namespace) -> None:
    """Estimate, print."""
    from dataclasses import fields

    from vega3d.config import FusionConfig
    from vega3d.costs import Setup, estimate
    from vega3d.costs.setup import size_of, with_settings
    from vega3d.costs.tables import as_text

    options = vars(arguments) | {
        "host": _host_of(arguments.name, arguments.host),
        "frames": tuple(arguments.frames),
        "modes": tuple(arguments.modes),
        "config": with_settings(Setup().config, arguments.set),
        "fusion": FusionConfig(arguments.fusion),
        "size": size_of(arguments.size),
    }
    costs = estimate(Setup(**{field.name: options[field.name] for field in fields(Setup)}))
    print(json.dumps(costs.to_dict(), indent=2) if arguments.json else as_text(costs))


def _host_of(name: str | None, option: str | None) -> str:
    """The host, named by position or by ``--host``."""
    if name is not None and option is not None:
        from vega3d.errors import ConfigError

        got, fix = f"{name} and --host {option}", "drop --host"
        raise ConfigError("Invalid host: it is named twice.", got=got, expected="one name", fix=fix)
    return name or option or "7b"
