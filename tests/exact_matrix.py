"""Run the bit-equality tests under every instruction set and number of threads.

``python -m tests.exact_matrix [arguments of pytest]`` prints a table. Each row is a process of its own, since
torch and its libraries read these variables once. The digests in ``tests/store/test_cast_bits.py`` are the
same for every row, so the rows that pass have the same bytes.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "VEGA3D_TEST_THREADS")
CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability())"


def rows() -> Iterator[dict[str, str]]:
    """The variables of each row; an unset one is left out."""
    for capability, isa, threads in itertools.product(("default", "avx2", ""), ("", "AVX2"), ("1", "2")):
        values = zip(VARIABLES, (capability, isa, "", threads), strict=True)
        yield {name: value for name, value in values if value}
    yield {"MKL_CBWR": "COMPATIBLE", "VEGA3D_TEST_THREADS": "1"}


def run(variables: dict[str, str], arguments: list[str]) -> tuple[list[str], list[str]]:
    """Run the tests under these variables; the cells of the table's row, and the tests that failed."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= variables | {"OMP_NUM_THREADS": variables["VEGA3D_TEST_THREADS"]}
    start = time.monotonic()
    capability, report = (
        subprocess.run([sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, text=True)
        for line in (["-c", CAPABILITY], ["-m", "pytest", "-v", "-m", "exact", *arguments])
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", report.stdout, re.MULTILINE)
    passed = re.search(r"(\d+) passed", report.stdout)
    if report.returncode and not failed:
        failed = [f"pytest ended with {report.returncode}: {(report.stdout + report.stderr)[-500:]}"]
    cells = [variables.get(name, "") for name in VARIABLES]
    found = [capability.stdout.strip(), passed[1] if passed else "0", str(len(failed))]
    return [*cells, *found, f"{time.monotonic() - start:.0f}"], failed


def main(arguments: list[str]) -> int:
    """Print the table; 1 if a test failed."""
    names = [*VARIABLES, "capability", "passed", "failed", "seconds"]
    print(f"| {' | '.join(names)} |\n|{' --- |' * len(names)}", flush=True)
    every: list[tuple[str, list[str]]] = []
    for variables in rows():
        cells, failed = run(variables, arguments)
        print(f"| {' | '.join(cells)} |", flush=True)
        every += [(test, cells[:4]) for test in failed]
    for test, cells in every:
        print(f"failed under {cells}: {test}")
    return 1 if every else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
