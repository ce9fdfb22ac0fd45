"""The documentation site: groups, links, search words, symptoms, and local assets."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """A page without its code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Targets of the links of a page inside the documentation: file and anchor."""
    for target in LINK.findall(prose(page)):
        if not re.match(r"\w+:", target):
            name, _, anchor = target.partition("#")
            yield ((page.parent / name).resolve() if name else page), anchor


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as Python-Markdown makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = unicodedata.normalize("NFKD", LINK.sub("", heading)).encode("ascii", "ignore").decode()
        made.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return made


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        assert file.exists(), file
        if anchor:
            assert anchor in anchors(file), f"{file.name}#{anchor}"


def pages_of(entry: Any) -> Iterator[str]:
    """Pages below an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for child in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_of(child)


def test_the_site_has_five_groups() -> None:
    names = [name for entry in SETTINGS["nav"] for name in entry]
    assert names == ["Home", "Start", "Guides", "Concepts", "Reference", "Research"]


def test_every_page_is_in_the_navigation() -> None:
    assert set(pages_of(SETTINGS["nav"])) == {str(page.relative_to(DOCS)) for page in PAGES}


def test_the_home_page_reaches_every_page() -> None:
    reached = {file for file, _ in links(DOCS / "index.md")} | {DOCS / "index.md"}
    assert set(PAGES) <= reached


def test_assets_of_the_site_are_local() -> None:
    assert SETTINGS["theme"]["font"] is False  # the theme's default is an address
    assert not [name for name in ("extra_css", "extra_javascript") if "://" in str(SETTINGS.get(name))]
    assert not re.search(r"!\[[^\]]*\]\(https?:", "".join(map(prose, PAGES)))


@pytest.mark.parametrize("words", ["wandb", "own video", "print_trainable_parameters"])
def test_a_page_answers_a_search(words: str) -> None:
    assert [page for page in PAGES if words in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize(
    "symptom",
    [
        *("flash-attn", "torchvision", "out of memory", "optimizer.step", "LoRA fails", "hangs at 100 % GPU"),
        *("size 0 under ZeRO-3", "host memory", "stored features", "geometry or video encoder"),
        *("differ from the published", "without the branch", "wrong checkpoint", "no depth", "ScanNet"),
        *("literal `<image>`", "too old or too new", "answer to every question", "Which media", "own video"),
        *("Annotations changed", "training data or weights", "slow in every epoch", "wandb", "boxes"),
        *("another layer", "How much memory", "another day", "Frames miss"),
    ],
)
def test_a_symptom_has_an_entry(symptom: str) -> None:
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert [h for h in re.findall(r"^### (.+)$", text, re.MULTILINE) if symptom.lower() in h.lower()]


@pytest.mark.full
def test_the_search_of_the_built_site_finds_the_words(tmp_path: Path) -> None:
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    index = json.loads((tmp_path / "search" / "search_index.json").read_text(encoding="utf-8"))
    for words in ("wandb", "own video", "print_trainable_parameters"):
        assert any(words in entry["text"] + entry["title"] for entry in index["docs"])
    sources = re.compile(r"""<(?:script|link|img)[^>]+(?:src|href)=["']?https?://""")
    pages = [page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html")]
    assert pages
    assert not [match for text in pages for match in sources.findall(text) if 'rel="canonical"' not in match]
