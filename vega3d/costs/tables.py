"""Text form of an estimate, as several tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vega3d.backbones.base import Part
from vega3d.costs.estimate import Estimate

GIB, MIB, TERA = 2**30, 2**20, 1e12
RECIPES = {
    "align": "projector and fusion",
    "lora": "LoRA of rank {rank} on the language model, projector and fusion",
    "full": "language model, projector and fusion",
}


def as_text(costs: Estimate) -> str:
    """Format all tables of an estimate, with notes on what they leave out."""
    sections = (_head(costs), _parts(costs), _training(costs), _clips(costs), _memory(costs), _stored(costs))
    return "\n\n".join("\n".join(lines) for lines in sections)


def _head(costs: Estimate) -> list[str]:
    setup, (rows, columns), (high, wide) = costs.setup, costs.grid, costs.tower
    cells = costs.clips[0].branch.cells
    return [
        f"host {setup.host}, generator {setup.config.path}, frames of {setup.size[0]} x {setup.size[1]}",
        f"the host gets {rows} x {columns} tokens for a frame (as {setup.medium}), the generator encodes "
        f"{wide} x {high} pixels as {cells[0]} x {cells[1]} tokens",
    ]


def _parts(costs: Estimate) -> list[str]:
    whole = Part("all", sum(p.parameters for p in costs.parts), sum(p.size for p in costs.parts))
    head = ("part", "parameters", "as it runs, GiB", "float32", "bfloat16")
    lines = table(head, [_part(part) for part in (*costs.parts, whole)])
    fusions = [(name, *(count(part.parameters) for part in parts)) for name, parts in costs.fusions.items()]
    return [*lines, "", *table(("fusion", "projector", "gate and norms"), fusions)]


def _part(part: Part) -> tuple[str, ...]:
    sizes = (part.size, 4 * part.parameters, 2 * part.parameters)
    return (part.name, count(part.parameters), *scaled(sizes, GIB))


def _training(costs: Estimate) -> list[str]:
    rows = []
    for training in costs.training:
        name = f"{training.recipe}: {RECIPES[training.recipe].format(rank=costs.setup.rank)}"
        rows.append((name, count(training.trained), *scaled(training.memory.values(), GIB, 1)))
    stages = [f"ZeRO-{stage}" for stage in costs.training[0].memory]
    return [
        *table(("training", "trained", *stages), rows),
        f"GiB on each of {costs.setup.gpus} GPUs for weights, gradients and Adam: 16 bytes a trained "
        "parameter, 2 a frozen one.",
        "Not in it: activations of the host, and the generator (below), unless its features are stored.",
    ]


def _clips(costs: Estimate) -> list[str]:
    parts = tuple(costs.clips[0].branch.flops)
    head = ("TFLOP a clip", "frames", "encoded", "generator", *parts, "host: vision", "tokens", "prefill")
    rows = []
    for clip in costs.clips:
        flops = (clip.branch.total, *clip.branch.flops.values(), clip.vision, clip.prefill)
        *before, prefill = scaled(flops, TERA, 1)
        counts = (str(clip.frames), str(clip.branch.encoded))
        rows.append((clip.mode, *counts, *before, str(clip.tokens), prefill, f"{clip.share:.2f}"))
    return table((*head, "generator / host"), rows)


def _memory(costs: Estimate) -> list[str]:
    rows = []
    for clip in costs.clips:
        sizes = (clip.branch.weights, *clip.branch.moments.values(), clip.branch.peak)
        rows.append((clip.mode, str(clip.frames), *scaled(sizes, GIB)))
    head = ("generator's memory, GiB", "frames", "weights", *costs.clips[0].branch.moments, "peak")
    batch = getattr(costs.setup.config, "micro_batch", None) or "the device's own"
    return [
        *table(head, rows),
        f"On {costs.setup.device}, micro-batch {batch}. The peak is the weights and the largest of the other "
        "moments.",
        "Not in it: a GPU's context and its libraries' scratch space.",
    ]


def _stored(costs: Estimate) -> list[str]:
    first = costs.clips[0].stored
    head = [f"{grid}, {precision}" for grid, sizes in first.items() for precision in sizes]
    rows = []
    for clip in costs.clips:
        sizes = [size for grid in clip.stored.values() for size in grid.values()]
        rows.append((clip.mode, str(clip.frames), *scaled(sizes, MIB)))
    return table(("stored features, MiB a clip", "frames", *head), rows)


def count(number: int) -> str:
    """Format a number of parameters in thousands, millions or billions, with three digits."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def scaled(sizes: Iterable[float], unit: float, digits: int = 2) -> list[str]:
    """Format sizes in a unit."""
    return [f"{size / unit:.{digits}f}" for size in sizes]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table whose first column is text and whose other columns are numbers."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *numbers in cells:
        aligned = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
