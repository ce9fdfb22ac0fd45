"""CPU time and peak memory of two checkouts, before and after a change, as ratios.

``python benchmarks/worktrees.py BEFORE AFTER`` runs the shipped models from either checkout in processes of
their own, in pairs whose order alternates, and prints for each task the median ratio after / before with a
95 % bootstrap interval. CPU time is taken rather than wall time, since other work on the machine moves it
less. Only names that both checkouts document are used.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SET_UP = """
import json, resource, sys, time, warnings
from pathlib import Path
import torch
warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)
from vega3d import Vega3DAdapter, Vega3DConfig, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.adapter import load_host
from vega3d.config import HostConfig
from vega3d.pico import pico_path
from vega3d.store import FeatureStore

work = Path(sys.argv[1])
settings = WanConfig(pixels=128 * 128)
wan = WanBackbone.from_pretrained(pico_path("wan"), config=settings)
model = Vega3DAdapter(load_host(HostConfig(path=str(pico_path("host")))), backbone=wan)
processor = Vega3DProcessor.from_pretrained(str(pico_path("host")), model.vega3d_config)
video = {"type": "video", "video": str(work / "room.mp4"), "nframes": 8}
messages = [{"role": "user", "content": [video, {"type": "text", "text": "How many chairs are there?"}]}]

def inputs(processor=processor):
    return processor.apply_chat_template(messages, add_generation_prompt=True)

def measured(run, times):
    run()
    start = time.process_time()
    for _ in range(times):
        run()
    spent = (time.process_time() - start) / times
    print(json.dumps({"cpu": spent, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
TASKS = {
    "a training step": """
batch = inputs()
batch["labels"] = batch["input_ids"].clone()
model.train()
def step():
    model(**batch).loss.backward()
    model.zero_grad()
measured(step, 6)
""",
    "reading stored features": """
reader = Vega3DProcessor.from_pretrained(
    str(pico_path("host")), model.vega3d_config, store=FeatureStore(work / "features"))
measured(lambda: inputs(reader), 12)
""",
    "answering": """
model.eval()
def answer():
    model.generate(**inputs(), min_new_tokens=8, max_new_tokens=8, do_sample=False)
measured(answer, 5)
""",
}
STARTED = """
import json, resource, subprocess, sys
command = [sys.executable, "-m", "vega3d.cli.main", "--help"]
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss}))
"""
MEDIA = """
import sys
from vega3d.cli.main import main
from vega3d.rooms import make_room, render, write_mp4
work = sys.argv[1]
clip = render(make_room(seed=200_000_005))
write_mp4(f"{work}/room.mp4", clip.rgb, clip.fps)
open(f"{work}/rows.json", "w").write('[{"video": "room.mp4"}]')
build = ["cache", "build", f"{work}/features", f"{work}/rows.json"]
sys.exit(main([*build, "--backbone", "pico", "--nframes", "8"]))
"""


def run(checkout: Path, code: str, work: Path) -> str:
    """Output of a program that imports vega3d from ``checkout``."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-c", code, str(work)]
    done = subprocess.run(command, cwd=work, env=environment, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{checkout}: {done.stderr[-2000:]}")
    return done.stdout


def figures_of(checkout: Path, task: str, work: Path) -> dict[str, float]:
    """CPU seconds and peak memory in KiB of one task in a new process."""
    code = SET_UP + TASKS[task] if task in TASKS else STARTED
    figures: dict[str, float] = json.loads(run(checkout, code, work).splitlines()[-1])
    return figures


def interval(ratios: list[float], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the median."""
    source = random.Random(0)
    medians = sorted(statistics.median(source.choices(ratios, k=len(ratios))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]


def main() -> None:
    """Measure pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--pairs", type=int, default=15, help="pairs of each task (default: 15)")
    arguments = parser.parse_args()
    checkouts = {name: getattr(arguments, name).resolve() for name in ("before", "after")}
    print("| task | before, s | CPU ratio | 95 % | peak ratio | 95 % |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run(checkouts["before"], MEDIA, work)
        for task in (*TASKS, "start-up (vega3d --help)"):
            pairs = []
            for number in range(arguments.pairs):
                order = ("before", "after") if number % 2 else ("after", "before")
                figures = {name: figures_of(checkouts[name], task, work) for name in order}
                pairs.append((figures["before"], figures["after"]))
            before = statistics.median(first["cpu"] for first, _ in pairs)
            cells = [task, f"{before:.3f}"]
            for figure in ("cpu", "peak"):
                ratios = [second[figure] / first[figure] for first, second in pairs]
                low, high = interval(ratios)
                cells += [f"{statistics.median(ratios):.3f}", f"{low:.3f} to {high:.3f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
