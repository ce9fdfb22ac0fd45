"""A figure fits a paper; the page of a clip is one file."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vega3d.analysis import figure
from vega3d.analysis.look import About, Look, look_at, write_look
from vega3d.errors import ConfigError, DependencyError
from vega3d.fusion.encode import Encoding, FusionReport
from vega3d.grid import FeatureMap

QUESTION = "How many chairs cost $5 & <more>?"
ABOUT = About("room.mp4", QUESTION, "4", "pico", tuple(0.8 * n for n in range(12)))
INCH = 72  # points


def clip(frames: int = 12, size: tuple[int, int] = (48, 64), about: About = ABOUT) -> Look:
    """Random features; the host joins two frames."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (frames, 3, *size), dtype=torch.uint8, generator=generator)
    steps = -(-frames // 2)
    gate = torch.rand(steps, 3, 4, generator=generator)
    report = FusionReport("video", gate, 0.1 * gate)
    features = torch.randn(8, frames, 3, 4, generator=generator)
    maps = FeatureMap(features, tuple((n,) for n in range(frames)))
    return look_at(Encoding({}, (report,), {}, (maps,)), pixels, about=about)


@pytest.fixture(scope="module")
def look() -> Look:
    return clip()


@pytest.fixture(scope="module")
def svg(look: Look, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_look(look, tmp_path_factory.mktemp("look"), format="svg")[0].read_text(encoding="utf-8")


def test_the_text_of_a_figure_is_text(svg: str) -> None:
    for text in (
        "room.mp4",
        "answer of pico: 4",
        "0.8 s",
        "contribution",
        "10 %",
        "How many chairs cost $5 &amp;",
    ):
        assert text in svg


def test_letters_have_7_to_9_points(svg: str) -> None:
    sizes = {float(size) for size in re.findall(r"font-size: ([\d.]+)px", svg)}
    assert sizes == {7, 8, 9}


@pytest.mark.parametrize("width", [3.3, 6.9])
def test_a_figure_is_as_wide_as_a_column_or_a_page(look: Look, width: float, tmp_path: Path) -> None:
    content = write_look(look, tmp_path, format="svg", width=width)[0].read_text(encoding="utf-8")
    match = re.search(r'width="([\d.]+)pt"', content)
    assert match
    assert float(match[1]) == pytest.approx(width * INCH, abs=0.01)


def test_a_png_shows_each_frame_with_448_pixels(look: Look, tmp_path: Path) -> None:
    path = write_look(look, tmp_path)[0]
    picture = Image.open(path)
    dots = picture.size[0] / 6.9
    assert dots * figure._Drawing.of(look, 6.9).tile[0] >= 447


def test_a_pdf_holds_its_fonts_as_outlines_of_letters(look: Look, tmp_path: Path) -> None:
    content = write_look(look, tmp_path, format="pdf")[0].read_bytes()
    assert b"/Type0" in content  # a font whose letters can be searched and copied
    assert b"/Type3" not in content


def test_two_runs_write_the_same_figure(look: Look, tmp_path: Path) -> None:
    first, second = (write_look(look, tmp_path / n, format="svg")[0].read_bytes() for n in "ab")
    assert first == second


def test_gate_and_contribution_are_below_the_frames_they_belong_to(look: Look) -> None:
    drawing = figure._Drawing.of(look, 6.9)
    drawing.draw(look)
    boxes = [axes.get_position() for axes in drawing.figure.axes]
    frames, gates = boxes[:8], boxes[16:20]
    for place, gate in enumerate(gates):
        pair = frames[2 * place : 2 * place + 2]
        assert gate.x0 + gate.x1 == pytest.approx(pair[0].x0 + pair[1].x1)
        assert gate.y1 < pair[0].y0


def test_a_long_clip_is_thinned_out_and_the_figure_says_so(tmp_path: Path) -> None:
    content = write_look(clip(48, about=About("long.mp4")), tmp_path, format="svg")[0].read_text("utf-8")
    assert "long.mp4, 8 of 48 frames" in content


@pytest.mark.parametrize("size", [(48, 27), (27, 48), (20, 200)])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_texts_and_pictures_stay_inside_the_figure(size: tuple[int, int], frames: int) -> None:
    look = clip(frames, size, About("a.mp4", "why? " * 200, "so. " * 300))
    for width in (3.3, 6.9):
        drawing = figure._Drawing.of(look, width)
        drawing.draw(look)
        whole = drawing.figure.bbox
        inner = drawing.figure.get_tightbbox()
        assert inner.x1 * drawing.figure.dpi <= whole.x1 + 1
        assert inner.y0 >= 0


def test_an_unknown_format_is_refused(look: Look, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown format"):
        write_look(look, tmp_path, format="gif")


def test_without_matplotlib_there_is_a_plain_picture(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figure, "find_spec", lambda name: None)
    assert Image.open(write_look(look, tmp_path)[0]).size[0] > 0
    assert "vega3d[plots]" in capsys.readouterr().err
    with pytest.raises(DependencyError, match="matplotlib"):
        write_look(look, tmp_path, format="pdf")


def test_the_page_has_a_slider_over_all_frames_with_their_times(look: Look, tmp_path: Path) -> None:
    page = (write_look(look, tmp_path)[1]).read_text(encoding="utf-8")
    assert '<input id="frame" type="range" min="0" max="11" value="0"' in page
    assert page.count("<figure") == 12 + 12 + 6 + 6
    assert '<figure data-frames="2 3">' in page
    assert "1.6 s and 2.4 s" in page


def test_the_page_names_no_other_file(look: Look, tmp_path: Path) -> None:
    page = (write_look(look, tmp_path)[1]).read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["'](?!data:)""", page) == []
    assert "default-src 'none'" in page
    assert "How many chairs cost $5 &amp; &lt;more&gt;?" in page


def test_pictures_of_the_page_have_448_pixels(look: Look, tmp_path: Path) -> None:
    import base64

    page = (write_look(look, tmp_path)[1]).read_text(encoding="utf-8")
    data = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert all(min(Image.open(io.BytesIO(base64.b64decode(part))).size) >= 448 for part in data)


def test_photographs_have_numbers_instead_of_times() -> None:
    assert clip(2, about=About("photo.jpg")).times == ["frame 1", "frame 2"]


def test_images_of_one_clip_each_have_their_gate() -> None:
    reports = tuple(
        FusionReport("image", torch.full((1, 2, n + 2), 0.1 * n), torch.zeros(1, 2, n + 2)) for n in range(3)
    )
    maps = FeatureMap(torch.randn(8, 3, 3, 4), ((0,), (1,), (2,)))
    frames = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    look = look_at(Encoding({}, reports, {}, (maps,)), frames)
    assert look.rows["gate"].frames == ((0,), (1,), (2,))
    assert np.isclose(look.numbers["gate_mean"], (0 * 2 + 0.1 * 3 + 0.2 * 4) / 9)
