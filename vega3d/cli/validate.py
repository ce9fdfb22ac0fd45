"""``vega3d validate CONFIG key.sub=value ...``: everything that would stop a run, before any GPU time."""

from __future__ import annotations

import argparse
import json
from typing import Any

EPILOG = """examples:
  vega3d validate configs/train/rooms_pico_lora.yaml
  vega3d validate configs/train/qwen2_5_vl_7b_lora.yaml data.0.root=/data/media --gpus 8 --gpu-memory 80
  vega3d validate run.yaml --rows 2000 --workers 16      open the media of 2,000 rows only

Exit code 1 if there is a problem. Nothing is written, and nothing runs on a GPU.
"""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "validate",
        help="find everything that would stop or spoil a training run, all at once",
        description="Read all annotations, open their media, put every row together as training will, look "
        "into the store, and estimate memory, steps and hours.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="YAML file of a run")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for vega3d train")
    parser.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="that the run will have (default: 1)"
    )
    parser.add_argument("--gpu-memory", type=float, metavar="GIB", help="of each; more is a problem")
    parser.add_argument("--tflops", type=float, default=200.0, metavar="X", help=_RATE_HELP)
    parser.add_argument("--rows", type=int, metavar="N", help="open the media of N rows only, drawn by seed")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that open media")
    parser.add_argument("--weights", action="store_true", help=_WEIGHTS_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON object with every problem")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, print, and return 1 if a run cannot start."""
    from vega3d.training.validation import Options, as_text, validate

    memory = None if arguments.gpu_memory is None else int(arguments.gpu_memory * 2**30)
    options = Options(
        gpus=arguments.gpus,
        gpu_memory=memory,
        tflops=arguments.tflops,
        rows=arguments.rows,
        workers=arguments.workers,
        weights=arguments.weights,
    )
    report = validate(arguments.config, arguments.overrides, options)
    print(json.dumps(report.to_dict(), indent=2) if arguments.json else as_text(report, options))
    return 1 if report.findings else 0


_RATE_HELP = "TFLOP/s that each GPU is taken to reach (default: 200, assumed)"
_WEIGHTS_HELP = "load the generator too, and compare it with the store by its weights"
