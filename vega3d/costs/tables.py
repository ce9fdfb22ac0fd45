"""An estimate as text: one table for each question that it answers."""

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


def as_text(found: Estimate) -> str:
    """All tables, with what they leave out."""
    sections = (_head(found), _parts(found), _training(found), _clips(found), _memory(found), _stored(found))
    return "\n\n".join("\n".join(lines) for lines in sections)


def _head(found: Estimate) -> list[str]:
    setup, (rows, columns), (high, wide) = found.setup, found.grid, found.tower
    cells = found.clips[0].branch.cells
    return [
        f"host {setup.host}, generator {setup.config.path}, frames of {setup.size[0]} x {setup.size[1]}",
        f"the host gets {rows} x {columns} tokens for a frame (as {setup.medium}), the generator encodes "
        f"{wide} x {high} pixels as {cells[0]} x {cells[1]} tokens",
    ]


def _parts(found: Estimate) -> list[str]:
    rows = [_part(part) for part in found.parts]
    rows.append(
        _part(Part("all", *(sum(getattr(p, k) for p in found.parts) for k in ("parameters", "size"))))
    )
    lines = table(("part", "parameters", "as it runs, GiB", "float32", "bfloat16"), rows)
    fusions = [
        (name, count(projector.parameters), count(gate.parameters))
        for name, (projector, gate) in found.fusions.items()
    ]
    return [*lines, "", *table(("fusion", "projector", "gate and norms"), fusions)]


def _part(part: Part) -> tuple[str, ...]:
    sizes = (part.size, 4 * part.parameters, 2 * part.parameters)
    return (part.name, count(part.parameters), *(f"{size / GIB:.2f}" for size in sizes))


def _training(found: Estimate) -> list[str]:
    rows = []
    for one in found.training:
        name = f"{one.recipe}: {RECIPES[one.recipe].format(rank=found.setup.rank)}"
        rows.append((name, count(one.trained), *(f"{size / GIB:.1f}" for size in one.memory.values())))
    stages = [f"ZeRO-{stage}" for stage in found.training[0].memory]
    return [
        *table(("training", "trained", *stages), rows),
        f"GiB on each of {found.setup.gpus} GPUs for weights, gradients and Adam: 16 bytes a trained "
        "parameter, 2 a frozen one.",
        "Not in it: activations of the host, and the generator (below), unless its features are stored.",
    ]


def _clips(found: Estimate) -> list[str]:
    parts = tuple(found.clips[0].branch.flops)
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
        for clip in found.clips
    ]
    return table((*head, "generator / host"), rows)


def _memory(found: Estimate) -> list[str]:
    def cells(clip: ClipCost) -> tuple[str, ...]:
        cost = clip.branch
        sizes = (cost.weights, *cost.moments.values(), cost.peak)
        return (clip.mode, str(clip.frames), *(f"{size / GIB:.2f}" for size in sizes))

    head = ("generator's memory, GiB", "frames", "weights", *found.clips[0].branch.moments, "peak")
    batch = getattr(found.setup.config, "micro_batch", None) or "the device's own"
    return [
        *table(head, map(cells, found.clips)),
        f"On {found.setup.device}, micro-batch {batch}. The peak is the weights and the largest of the other "
        "moments.",
        "Not in it: a GPU's context and its libraries' scratch space.",
    ]


def _stored(found: Estimate) -> list[str]:
    first = found.clips[0].stored
    head = [f"{grid}, {precision}" for grid, sizes in first.items() for precision in sizes]
    rows = [
        (
            clip.mode,
            str(clip.frames),
            *(f"{size / MIB:.2f}" for sizes in clip.stored.values() for size in sizes.values()),
        )
        for clip in found.clips
    ]
    return table(("stored features, MiB a clip", "frames", *head), rows)


def count(number: int) -> str:
    """Parameters in thousands, millions or billions, three digits."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is text and whose others are numbers."""
    cells = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(_aligned(line, widths)).rstrip() for line in cells]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    first, *others = zip(line, widths, strict=True)
    return [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
