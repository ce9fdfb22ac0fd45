"""PyYAML with bounds: plain values only, of a depth and size that a config has.

PyYAML reads YAML 1.1, in which ``1e-4`` is a word and the last of two equal keys wins. Here the first is a
number and the second an error. A date stays text. An alias counts as what it stands for, so a file of nine
lines cannot become a billion values.

Error texts name the line, and repeat nothing of it: it could hold a token.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

LONGEST = 1 << 18  # bytes of a file; those in configs/train/ have about 2,000
DEPTH = 64  # levels of lists and mappings
LARGEST = 20_000  # values, with every alias written out
NUMBER = 64  # characters of a number or date

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
_TAG = "tag:yaml.org,2002:"
_KINDS = {"int": "whole number", "float": "number", "timestamp": "date", "bool": "truth value"}
_PLAIN = {f"{_TAG}{kind}" for kind in ("map", "seq", "str", "null", *_KINDS)}


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
    """The safe loader with bounds, and with the differences above."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        """One node of the tree; refuses deep nesting while it is read."""
        self.depth += 1
        if self.depth > DEPTH:
            raise _refused(f"more than {DEPTH} levels of lists and mappings", parent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_document(self) -> Any:
        """The whole tree; refuses what would grow or cannot be a setting."""
        node = super().compose_document()
        _measure(node, {})
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A node's value; every failure names its line."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:  # PyYAML lets whatever int, float and datetime raise through
            kind = _KINDS.get(node.tag.removeprefix(_TAG), "plain value")
            raise _refused(f"this is not a valid {kind} ({type(error).__name__})", node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping; refuses a key that stands twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise _refused(f"{key.value!r} stands twice in the block", node)
            seen.add(key.value)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made

    def construct_day(self, node: yaml.ScalarNode) -> str:
        """A date as it is written, once it is one."""
        self.construct_yaml_timestamp(node)
        return str(node.value)


_Loader.add_implicit_resolver(f"{_TAG}float", _NUMBER, list("-+.0123456789"))
_Loader.add_constructor(f"{_TAG}timestamp", _Loader.construct_day)


def parsed(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises:
        ValueError: it is not YAML, uses a tag, or is too long, deep or large.
    """
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST:,} bytes")
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader: no tag makes an object
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise ValueError(f"{position}{error.problem}") from None
    except yaml.YAMLError as error:  # of the reader: a character that no YAML has
        raise ValueError(str(getattr(error, "reason", type(error).__name__))) from None
    except (ValueError, OverflowError, IndexError) as error:  # of the scanner: no such character
        raise ValueError(f"{type(error).__name__} while reading") from None


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Number of values in a node and their levels, aliases written out.

    An alias follows its anchor, so its node is already in ``known``: the recursion is as deep as the text.
    """
    if (measured := known.get(id(node))) is not None:
        if measured == (0, 0):
            raise _refused("a value that contains itself", node)
        return measured
    known[id(node)] = (0, 0)  # while it is measured
    _require_plain(node)
    inner = [_measure(child, known) for child in _children(node)]
    size = 1 + sum(count for count, _ in inner)
    levels = 1 + max((level for _, level in inner), default=0)
    if size > LARGEST or levels > DEPTH:
        raise _refused(f"more than {LARGEST:,} values or {DEPTH} levels, with aliases written out", node)
    known[id(node)] = (size, levels)
    return size, levels


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _require_plain(node: yaml.Node) -> None:
    """Refuse tags, keys that are not text, and characters that no file or path can have."""
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if key.tag != f"{_TAG}str" or not isinstance(key, yaml.ScalarNode):
                raise _refused("a key that is not text", key)
    if node.tag not in _PLAIN:
        raise _refused("a tag", node)
    if isinstance(node, yaml.ScalarNode):
        if node.tag != f"{_TAG}str" and len(node.value) > NUMBER:
            raise _refused(f"a number or date of more than {NUMBER} characters", node)
        if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in node.value):
            raise _refused("a zero byte, or half a character", node)


def _refused(problem: str, node: yaml.Node | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark if node is not None else None)
