"""The Ames set on disk: `<out>/ames/*.mp4` and `<out>/ames.jsonl`."""

from __future__ import annotations

from pathlib import Path

from vega3d.rooms.ames import ames_questions, film_ames, make_ames
from vega3d.rooms.formats.writer import (
    Progress,
    Row,
    Split,
    complete_scene,
    export_scenes,
    numbered,
    scene_seed,
    swept,
    write_lines,
)
from vega3d.rooms.scene import ROOMS_VERSION
from vega3d.rooms.video import write_mp4


def export_ames(
    out: str | Path,
    pairs: int,
    seed: int = 0,
    *,
    split: Split = "test",
    width: int = 256,
    height: int = 256,
    sampled: int = 8,
    step: int = 6,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Write ``pairs`` pairs as `<out>/ames/*.mp4` and `<out>/ames.jsonl`; returns the path of the latter.

    Every frame is coded by itself at one quantiser, so that equal frames stay equal in the file. Complete
    pairs are kept. The arguments are those of `export_rooms` and `film_ames`.
    """
    folder = swept(swept(Path(out)) / "ames")
    size = {"width": width, "height": height, "sampled": sampled, "step": step}
    calls = [(folder, scene_seed(split, seed, i), size) for i in range(pairs)]
    rows = numbered(export_scenes(_pair, calls, workers, progress))
    return write_lines(Path(out) / "ames.jsonl", rows)


def _pair(folder: Path, seed: int, size: dict[str, int]) -> tuple[list[Row], bool]:
    """Questions of one pair, and whether it was complete before."""
    settings = [ROOMS_VERSION, *size.values()]
    mark = folder / f"ames_{seed:09d}.json"
    scene, complete = complete_scene(mark, settings, lambda: {"questions": _make(folder, seed, size)})
    return scene["questions"], complete


def _make(folder: Path, seed: int, size: dict[str, int]) -> list[Row]:
    """Write the videos of both twins; returns their questions."""
    pair, rows = make_ames(seed), []
    for twin in sorted((0, 1), key=pair.name):
        clip = film_ames(pair, twin, **size)
        tag = f"vega3d-ames/{ROOMS_VERSION}/{seed}"
        write_mp4(folder / f"{pair.name(twin)}.mp4", clip.rgb, clip.fps, comment=tag, intra=True)
        rows += ames_questions(pair, twin)
    return rows
