"""Text form of an estimate, as several tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vega3d.backbones.cost import Part
from vega3d.costs.estimate import ClipCost, Estimate

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
    rows = [_part(part) for part in costs.parts]
    rows.append(
        _part(Part("all", *(sum(getattr(p, k) for p in costs.parts) for k in ("parameters", "size"))))
    )
    lines = table(("part", "parameters", "as it runs, GiB", "float32", "bfloat16"), rows)
    fusions = [
        (name, count(projector.parameters), count(gate.parameters))
        for name, (projector, gate) in costs.fusions.items()
    ]
    return [*lines, "", *table(("fusion", "projector", "gate and norms"), fusions)]


def _part(part: Part) -> tuple[str, ...]:
    sizes = (part.size, 4 * part.parameters, 2 * part.parameters)
    return (part.name, count(part.parameters), *(f"{size / GIB:.2f}" for size in sizes))


def _training(costs: Estimate) -> list[str]:
    rows = []
    for training in costs.training:
        name = f"{training.recipe}: {RECIPES[training.recipe].format(rank=costs.setup.rank)}"
        sizes = (f"{size / GIB:.1f}" for size in training.memory.values())
        rows.append((name, count(training.trained), *sizes))
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
    rows = [
        (
            clip.mode,
            str(clip.frames),
            str(clip.branch.encoded),
            *(f"{flops / TERA:.1f}" for flops in (clip.branch.total, *clip.branch.flops.values())),
            f"{clip.vision / TERA:.1f}",
            str(clip.tokens),
            f"{clip.prefill / TERA:.1f}",
            f"{clip.share:.2f}",
        )
        for clip in costs.clips
    ]
    return table((*head, "generator / host"), rows)


def _memory(costs: Estimate) -> list[str]:
    def cells(clip: ClipCost) -> tuple[str, ...]:
        cost = clip.branch
        sizes = (cost.weights, *cost.moments.values(), cost.peak)
        return (clip.mode, str(clip.frames), *(f"{size / GIB:.2f}" for size in sizes))

    head = ("generator's memory, GiB", "frames", "weights", *costs.clips[0].branch.moments, "peak")
    batch = getattr(costs.setup.config, "micro_batch", None) or "the device's own"
    return [
        *table(head, map(cells, costs.clips)),
        f"On {costs.setup.device}, micro-batch {batch}. The peak is the weights and the largest of the other "
        "moments.",
        "Not in it: a GPU's context and its libraries' scratch space.",
    ]


def _stored(costs: Estimate) -> list[str]:
    first = costs.clips[0].stored
    head = [f"{grid}, {precision}" for grid, sizes in first.items() for precision in sizes]
    rows = [
        (
            clip.mode,
            str(clip.frames),
            *(f"{size / MIB:.2f}" for sizes in clip.stored.values() for size in sizes.values()),
        )
        for clip in costs.clips
    ]
    return table(("stored features, MiB a clip", "frames", *head), rows)


def count(number: int) -> str:
    """Format a number of parameters in thousands, millions or billions, with three digits."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table whose first column is text and whose other columns are numbers."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(_aligned(line, widths)).rstrip() for line in cells]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
