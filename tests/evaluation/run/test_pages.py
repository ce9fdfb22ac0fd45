"""The pages in a real browser and under a strict parser: no errors, no outside addresses, bars, frames."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import html5lib
import pytest

from tests.evaluation.run.fakes import Fake, write_benchmark
from tests.evaluation.run.test_reports import Tags, Wrong, make
from tests.media import write_video
from vega3d.cli.main import main
from vega3d.errors import InputError
from vega3d.evaluation.run.report import write_overview, write_report

BROWSER = os.environ.get("VEGA3D_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of two tasks: one all right, one all wrong, with the frames of a room."""
    (tmp_path / "data" / "rooms").mkdir(parents=True)
    write_video(tmp_path / "data" / "rooms" / "0.mp4")
    write_benchmark(tmp_path / "data")
    make(tmp_path, "out/right", Fake())
    make(tmp_path, "out/wrong", Wrong())
    return tmp_path / "out"


def test_pages_are_html_that_a_strict_parser_takes(run_folder: Path) -> None:
    for page in (write_overview(run_folder), write_report(run_folder / "wrong")[1]):
        parser = html5lib.HTMLParser(strict=True)
        parser.parse(page.read_text(encoding="utf-8"))
        assert parser.errors == []


def test_no_page_names_an_address_outside_itself(run_folder: Path) -> None:
    tags = Tags(write_overview(run_folder).read_text(encoding="utf-8")).found
    addresses = [a[name] or "" for _, a in tags for name in ("src", "href", "srcset", "action") if name in a]
    assert len(addresses) > 32
    assert all(address.startswith(("data:", "#")) for address in addresses)


def test_the_overview_leads_to_every_task(run_folder: Path) -> None:
    tags = Tags(write_overview(run_folder).read_text(encoding="utf-8")).found
    targets = {a["id"] for tag, a in tags if tag == "section"}
    assert {(a["href"] or "").removeprefix("#") for tag, a in tags if tag == "a"} == targets


def test_the_pages_of_all_tasks_are_written_again_by_one_command(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "report", str(run_folder)]) == 0
    assert capsys.readouterr().out.split() == [str(run_folder / "report.html")]
    assert (run_folder / "right" / "report.md").is_file()


def test_a_folder_without_a_finished_task_has_no_overview(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished run"):
        write_overview(tmp_path)


@pytest.mark.full
def test_a_browser_shows_bars_and_frames_without_an_error(run_folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    page_file = write_overview(run_folder)
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(page_file.as_uri())
        bars = page.eval_on_selector_all(
            ".bar", "all => all.map(b => [b.offsetWidth, b.parentNode.offsetWidth])"
        )
        frames = page.eval_on_selector_all("img", "all => all.map(i => [i.complete, i.naturalWidth])")
        page.screenshot(path=os.environ.get("VEGA3D_SCREENSHOT") or page_file.with_suffix(".png"))
        browser.close()
    assert problems == []
    assert {url.split(":")[0] for url in requests} <= {"file", "data"}
    assert len(bars) == 8
    assert {bar for bar, _ in bars[:4]} == {track for _, track in bars}  # all right: as wide as the track
    assert {bar for bar, _ in bars[4:]} == {0}
    assert len(frames) == 32  # of successes and failures
    assert all(complete and width > 0 for complete, width in frames)
    assert (page_file.with_suffix(".png")).is_file() or os.environ.get("VEGA3D_SCREENSHOT")
