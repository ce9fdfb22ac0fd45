"""Nothing that a model or a data set wrote is markup in a report, in Markdown as in HTML; nothing is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import html5lib
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.evaluation.run.fakes import Fake, write_benchmark
from tests.evaluation.run.test_runner import run
from vega3d.evaluation.run.report import escaped, markdown, page
from vega3d.evaluation.run.results import read_result

PAYLOADS = (
    "![i](http://evil/x.png)",
    "[x](javascript:alert(1))",
    "[x]: http://evil",
    "[x][1]",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</table></pre></style><svg onload=alert(1)>",
    "<!-- x",
    "<https://evil.example>",
    "http://evil.example https://evil.example www.evil.example //evil.example a@evil.example",
    "`code` ``more`` \\`x`",
    "a|b\\|c\\\\|d",
    "*a* **b** _c_ ~~d~~ $e$ &lt;f&gt; &#60;",
    "# head\n\n---\n\n> quote\r\n- list\r1. item\n\n    code\n\n```\nx\n```",
    "javascript:alert(1)",
    "\x00\x07\u202e\ud800",
)
TEXTS = st.one_of(
    st.sampled_from(PAYLOADS),
    st.text(st.sampled_from("ab.:/@ \n\r|\\`*_[](){}<>&#!~$^=+-\"'1"), max_size=30),
    st.text(max_size=20),
)
NAMES = ("id", "kind", "question", "truth", "output", "media", "scene")
TAGS = {"html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "p", "b", "pre", "article"}
TAGS |= {
    "table",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "main",
    "div",
    "form",
    "label",
    "select",
    "option",
    "input",
}
TAGS |= {"output", "details", "summary", "h4", "script"}
Run = tuple[dict[str, Any], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    run(write_benchmark(folder / "data", 1, 1), folder / "run", Fake())
    return read_result(folder / "run")


def with_text(finished: Run, text: str, *, failed: bool) -> Run:
    """The run with one text in the place of every text that comes from outside."""
    result, (row,) = finished
    rows = [{**row, **dict.fromkeys(NAMES, text), "score": 0.0, "error": text or "x" if failed else None}]
    kinds = {text: next(iter(result["kinds"].values()))}
    about = dict.fromkeys(("features", "frames", "send", "label"), text) | {
        "model": {"name": text, "kind": text}
    }
    named = dict.fromkeys(("task", "protocol", "score"), text)
    return {**result, **named, "kinds": kinds, "headline": {text: 1.0}, "provenance": about}, rows


def tokens(text: str) -> list[Any]:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return [token for block in parser.parse(text) for token in (block, *(block.children or ()))]


def shown(text: str) -> str:
    """A text as a renderer shows it in one line."""
    return re.sub(r"[\r\n]+", " ", text).replace("\0", "\ufffd").strip()


@settings(max_examples=150, deadline=None)
@given(text=TEXTS, failed=st.booleans())
@example(text=PAYLOADS[0], failed=False)
@example(text=PAYLOADS[1], failed=False)
def test_markdown_holds_text_and_no_markup_of_a_model(finished: Run, text: str, failed: bool) -> None:
    content = markdown(*with_text(finished, text, failed=failed))
    found = tokens(content)
    kinds = {token.type for token in found}
    allowed = {"heading", "paragraph", "blockquote", "table", "thead", "tbody", "tr", "th", "td"}
    assert kinds <= {f"{name}_{end}" for name in allowed for end in ("open", "close")} | {
        "inline", "text", "text_special"
    }  # fmt: skip
    rows = sum(token.type == "tr_open" for token in found)
    assert rows == len(re.findall(r"^\|(?!---)", content, re.MULTILINE))
    cells = ["".join(c.content for c in token.children).strip() for token in found if token.type == "inline"]
    assert cells[-5:] == [shown(text)] * 4 + [shown(text or "x" if failed else text)]
    assert not re.search(r"(?<!\\)//|www\.[a-z]|[a-z]@", content)  # no renderer makes a link of it


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, failed=st.booleans())
def test_a_page_holds_text_and_no_markup_of_a_model(finished: Run, text: str, failed: bool) -> None:
    content = page(*with_text(finished, text, failed=failed)).encode(errors="backslashreplace").decode()
    tree = html5lib.parse(content, namespaceHTMLElements=False)
    elements = list(tree.iter())
    assert {element.tag for element in elements if isinstance(element.tag, str)} <= TAGS
    assert all(isinstance(element.tag, str) for element in elements)  # no comment
    attributes = {name for element in elements for name in element.attrib}
    assert attributes <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "style", "id"),
        *("type", "placeholder", "value", "data-kind", "data-verdict"),
    }
    assert len([element for element in elements if element.tag == "script"]) == 1


def test_a_line_of_many_files_is_readable_as_it_is(tmp_path: Path) -> None:
    assert escaped("B. the sofa (2.5 m), 30 %; a-b + c = d!") == "B. the sofa (2.5 m), 30 %; a-b + c = d!"
