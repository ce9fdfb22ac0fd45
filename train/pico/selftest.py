"""Write the numbers that ``vega3d doctor`` compares with: run it after the shipped models have changed.

python -m train.pico.selftest [--out vega3d/pico/selftest.json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from vega3d._utils import files
from vega3d.doctor.selftest import NUMBERS, measure


def main() -> None:
    """Measure on this machine, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=NUMBERS, metavar="FILE")
    arguments = parser.parse_args()
    text = json.dumps(measure(), indent=1) + "\n"
    print(files.write_whole(arguments.out, lambda part: part.write_text(text, encoding="utf-8")))


if __name__ == "__main__":
    main()
