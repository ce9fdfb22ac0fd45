"""Prose of the documentation, of docstrings and of error titles follows the house rules.

How sentences are counted. These are left out: HTML comments, fenced code, headings, tables, pictures,
results that a script writes into a page, and paragraphs that hold nothing but code or links. Each paragraph
and each entry of a list stands alone. A link counts as its text, inline code as one word. A sentence ends
at ``.``, ``!`` or ``?`` before white space and a capital, a digit, code or a bracket, and at the end of its
paragraph. Colons and semicolons do not end one. A word is anything between white space that holds a letter
or a digit.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SOURCES = sorted((ROOT / "vega3d").rglob("*.py"))
FOLDERS = ("vega3d", "tests", "train", "eval", "experiments", "examples", "benchmarks")
EVERY = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "goldens" not in path.parts
)

LONGEST, MEDIAN, README_LINES = 30, 18, 100
LEFT_OUT = re.compile(
    r"<!-- results.*?<!-- end -->|<!--.*?-->|^```.*?^```|^#+ .*?$|^\s*\|.*?$|^!\[.*?$"
    r"|^::: .*?$|^    options:\n(?:      .*\n)*",
    re.DOTALL | re.MULTILINE,
)
CODE = re.compile(r"``[^`]+``|`[^`]+`")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
ONLY_CODE_OR_LINKS = re.compile(r"(?:`[^`]+`|\[[^\]]*\]\([^)]*\)|[\s,.·:;()]|\band\b)*")
ENTRY = re.compile(r"^\s*(?:[-*]|\d+\.) ", re.M)
SHORTENED = re.compile(r"\b(e\.g|i\.e|vs|sec|eq|Fig|al|approx)\.(?=\s)")
END = re.compile(r"(?<=[.!?])[)\"*]*\s+(?=[A-Z0-9Δ‖σ(\[\"*])")
PERSONAL = re.compile(r"\b(knows?|knew|hears?|heard|nobody|tells?|told)\b", re.I)

TITLE = re.compile(r"(Invalid|Unknown|Missing|Cannot) ")
RIDDLE = re.compile(r"(What|Where|Whether)\b")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def paragraphs(page: Path) -> Iterator[str]:
    """Paragraphs and list entries of a page, as plain words."""
    text = LEFT_OUT.sub("\n", page.read_text(encoding="utf-8"))
    for block in re.split(r"\n\s*\n", ENTRY.sub("\n\n", text)):
        if block.strip() and not ONLY_CODE_OR_LINKS.fullmatch(block):
            yield " ".join(LINK.sub(r"\1", CODE.sub("CODE", block)).split())


def sentences(page: Path) -> list[str]:
    return [
        sentence
        for paragraph in paragraphs(page)
        for sentence in END.split(SHORTENED.sub(r"\1", paragraph))
        if words(sentence)
    ]


def words(sentence: str) -> int:
    return sum(bool(re.search(r"[^\W_]", word)) for word in sentence.split())


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_sentence_of_a_page_is_longer_than_thirty_words(page: Path) -> None:
    assert not [f"{words(text)}: {text}" for text in sentences(page) if words(text) > LONGEST]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_half_of_the_sentences_of_a_page_are_short(page: Path) -> None:
    assert median(map(words, sentences(page))) <= MEDIAN


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_things_of_a_page_do_not_behave_like_persons(page: Path) -> None:
    assert not [text for text in sentences(page) if PERSONAL.search(text)]


def test_the_readme_fits_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_a_sentence_is_counted_as_the_rules_say(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading\n\nOne [link of five words](x.md) and `two words`. "
        "See e.g. this (eq. 8): it\ngoes on; to here.\n"
        "- An entry\n- `code`, [a link](y.md)\n\n| a | table |\n\n```python\nx = 1\n```\nIs it 0.5? Yes.\n"
    )
    assert [words(text) for text in sentences(page)] == [7, 10, 2, 3, 1]


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of modules, classes and functions, and the strings below attributes."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Expr) else None
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value.strip()


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_a_docstring_opens_with_a_verb_or_a_noun(path: Path) -> None:
    assert not [text.splitlines()[0] for text in docstrings(parsed(path)) if RIDDLE.match(text)]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def error_classes() -> set[str]:
    """Names of our error classes, wherever they are defined."""
    nodes = (node for path in SOURCES for node in ast.walk(parsed(path)))
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    names = {"Vega3DError"}
    for _ in range(3):  # a subclass may be read before its base
        names |= {
            node.name
            for node in classes
            if any(isinstance(base, ast.Name) and base.id in names for base in node.bases)
        }
    return names


def titles(tree: ast.Module, classes: set[str]) -> Iterator[tuple[int, str]]:
    """First arguments of our errors, as (line, text); an f-string up to its first value.

    A title in a variable counts where the function gives the variable its value. A title that is a parameter
    (``_require(condition, what, ...)``) counts where the function is called in the same file.
    """
    forwarding: dict[str, int] = {}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        parameters = [argument.arg for argument in function.args.args]
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            if not raises(call, classes) or not call.args or not isinstance(call.args[0], ast.Name):
                continue
            variable = call.args[0].id
            if variable in parameters:
                forwarding[function.name] = parameters.index(variable) - (parameters[0] in ("self", "cls"))
            for target, value in assignments(function):
                if ast.unparse(target) == variable:
                    yield from texts(value)
    for call in calls:
        index = 0 if raises(call, classes) else forwarding.get(called(call))
        if index is not None and len(call.args) > index:
            yield from texts(call.args[index])


def assignments(function: ast.FunctionDef) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Targets with their values; those of ``a, b = x, y`` one by one."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                yield from zip(target.elts, value.elts, strict=False)
            else:
                yield target, value


def called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def raises(call: ast.Call, classes: set[str]) -> bool:
    """True for a call of an error class, or of a variable that holds one (``error(..., fix=...)``)."""
    if called(call) in classes:
        return True
    return called(call) == "error" and bool({"got", "expected", "fix"} & {k.arg for k in call.keywords})


def texts(node: ast.expr) -> Iterator[tuple[int, str]]:
    """The texts that an expression may give, each up to its first inserted value."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BinOp):
        yield from texts(node.left)
    elif isinstance(node, ast.Constant):
        yield node.lineno, str(node.value)
    elif isinstance(node, ast.JoinedStr):
        first = node.values[0] if node.values else None
        yield node.lineno, str(first.value) if isinstance(first, ast.Constant) else "{...}"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_the_title_of_an_error_names_what_is_wrong(path: Path) -> None:
    found = titles(parsed(path), error_classes())
    assert not [f"{line}: {text}" for line, text in found if not TITLE.match(text)]


def test_the_titles_of_a_file_are_found_through_variables_and_functions() -> None:
    source = """
def _require(condition, what, fix):
    if not condition:
        raise ConfigError(what, fix=fix)
def load(error):
    what = f"{path} is bad."
    raise error("A is bad." if a else "Invalid B.", fix="") if x else InputError(what)
_require(True, "C is bad.", "fix")
"""
    titled = {text for _, text in titles(ast.parse(source), {"ConfigError", "InputError"})}
    assert titled == {"A is bad.", "Invalid B.", "{...}", "C is bad."}
