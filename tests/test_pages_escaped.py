"""Every page that vega3d writes shows text from outside as text, and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import html5lib
import pytest

from tests.analysis.test_figure import clip
from tests.evaluation.run.fakes import Fake, write_benchmark
from tests.evaluation.run.test_escaping import with_text
from tests.evaluation.run.test_runner import run
from vega3d.analysis import look_page
from vega3d.analysis.look import About
from vega3d.evaluation.run import comparison, report
from vega3d.evaluation.run.results import read_result, write_result

PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\"><script>alert(1)</script><a href='",
    "</title></style><script>alert(1)</script>",
    "<svg onload=alert(1)>",
)
BROWSER = os.environ.get("VEGA3D_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
ROOT = Path(report.__file__).parents[2]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    run(write_benchmark(folder / "data", 1, 1), folder / "run", Fake())
    return read_result(folder / "run")


def look_of(text: str, finished: Any, folder: Path) -> str:
    return look_page.page(clip(2, about=About(text, text, text, text)))


def report_of(text: str, finished: Any, folder: Path) -> str:
    return report.page(*with_text(finished, text, failed=False))


def overview_of(text: str, finished: Any, folder: Path) -> str:
    (folder / "task").mkdir()
    write_result(folder / "task", *with_text(finished, text, failed=True))
    return report.write_overview(folder).read_text(encoding="utf-8")


def comparison_of(text: str, finished: Any, folder: Path) -> str:
    both = with_text(finished, text, failed=False)
    mean = {"first": 0.0, "second": 0.0, "difference": 0.0, "interval_95": None}
    counts = dict.fromkeys(("paired", "left_out", "scenes"), 1)
    return comparison.page(
        (text, text), both, both, {"macro": mean, "micro": mean, "kinds": {text: 0.0}, **counts}
    )


PAGES = (look_of, report_of, overview_of, comparison_of)


@pytest.mark.parametrize("write", PAGES, ids=lambda write: write.__name__)
@pytest.mark.parametrize("text", PAYLOADS)
def test_a_script_of_a_model_is_text_in_every_page(
    write: Callable[..., str], text: str, finished: Any, tmp_path: Path
) -> None:
    content = write(text, finished, tmp_path)
    tree = html5lib.parse(content, namespaceHTMLElements=False)
    scripts = [element.text for element in tree.iter("script")]
    own = {file.read_text(encoding="utf-8").strip() for file in ROOT.rglob("*.js")}
    assert len(scripts) == 1
    assert set(scripts) <= own
    attributes = {name for element in tree.iter() if isinstance(element.tag, str) for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on")]
    assert text in "".join(tree.itertext())


@pytest.mark.parametrize("write", PAGES, ids=lambda write: write.__name__)
def test_the_policy_of_a_page_allows_its_own_script_and_no_address(
    write: Callable[..., str], finished: Any, tmp_path: Path
) -> None:
    tree = html5lib.parse(write("x", finished, tmp_path), namespaceHTMLElements=False)
    policy = next(m.attrib["content"] for m in tree.iter("meta") if "http-equiv" in m.attrib)
    (script,) = [element.text for element in tree.iter("script")]
    checksum = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{checksum}'"
    )


def test_every_template_is_among_the_pages() -> None:
    templates = {file.name for file in ROOT.rglob("*.html") if "extends" in file.read_text(encoding="utf-8")}
    assert templates == {"look.html", "report.html", "comparison.html"}


@pytest.mark.full
def test_filter_search_and_slider_work_in_a_browser(tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    run(write_benchmark(tmp_path / "data"), tmp_path / "run", Fake(broken=["2"]))
    report_page = report.write_report(tmp_path / "run")[1]
    clip_page = tmp_path / "look.html"
    clip_page.write_text(look_page.page(clip(4)), encoding="utf-8")
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser: Any = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(report_page.as_uri())
        page.select_option("select[name=verdict]", "error")
        assert page.text_content("output") == "4 of 12 samples"
        page.select_option("select[name=kind]", "route_planning")
        assert page.locator("article:visible").count() == 1
        page.select_option("select[name=verdict]", "")
        page.fill("input[name=text]", "ROOM 0")
        assert page.locator("article:visible").count() == 1
        page.goto(clip_page.as_uri())
        assert page.locator("figure:visible").count() == 4  # frame, features, gate, contribution
        page.fill("input[type=range]", "3")
        assert page.locator("output").inner_text() == "2.4 s"
        assert page.locator('figure[data-frames="2 3"]:visible').count() == 2
        browser.close()
    assert problems == []
