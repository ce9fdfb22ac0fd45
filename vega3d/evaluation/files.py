"""Files of a benchmark's folder: rows, checked, and media that rows name.

Decision: a question without text, or with a scene that is not a name, would be asked as another question. So
the file is refused before a model is loaded, and the error names file and line. Fields that only scores need
are left to the scorers. Records name files below the folder only, so that a data set cannot read others.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vega3d._utils.files import inside
from vega3d.errors import ConfigError, InputError
from vega3d.evaluation.media import EMBEDDED, Pictures, parquet
from vega3d.evaluation.records import Field, is_text, is_texts

Row = dict[str, Any]
ROWS = "a JSON list, JSON Lines or parquet, one object a question"
FIX = "correct the record; if you set the link yourself, pass --follow-links"


@dataclass(frozen=True)
class Folder:
    """Folder of a benchmark, as its reader gets it.

    Attributes:
        root: it may be a link.
        benchmark: name for error messages.
        follow_links: follow links that lead out of the folder.
    """

    root: Path
    benchmark: str
    follow_links: bool = False

    def below(self, *names: str) -> Folder:
        """A folder in this one; it may be a link."""
        return replace(self, root=self.root.joinpath(*names))

    def first(self, *names: str) -> Path:
        """The first of the named files that exists.

        Raises:
            InputError: none does.
        """
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise self.unusable("holds no questions of", f"none of {', '.join(names)}", "one of these files")

    def place(self, name: str) -> Path:
        """Path of a file or of a folder of pictures that a record names; it need not exist.

        Raises:
            InputError: it is outside the folder, or one of its pictures is.
        """
        path = inside(self.root, name, follow_links=self.follow_links, fix=FIX)
        if path.is_dir() and not self.follow_links:
            with os.scandir(path) as entries:
                for link in [entry.name for entry in entries if entry.is_symlink()]:
                    inside(self.root, f"{name}/{link}", fix=FIX)
        return path

    def pictures(self, names: Sequence[str], *, clip: bool = True) -> Pictures:
        """Pictures that a record names one by one.

        Raises:
            InputError: one of them is outside the folder.
        """
        for name in names:
            cell = EMBEDDED.fullmatch(name)
            self.place(cell["file"] if cell else name)
        return Pictures(tuple(str(self.root / os.path.normpath(name)) for name in names), clip)

    def unusable(self, what: str, got: str, expected: str) -> InputError:
        """The error for a folder without usable files of questions."""
        title = f"Invalid folder: {self.root} {what} {self.benchmark}."
        fix = f"`vega3d eval check {self.benchmark} --data {self.root}` names their source"
        return InputError(title, got=got, expected=expected, fix=fix)


def is_sentence(value: object) -> bool:
    """Text that is not blank."""
    return isinstance(value, str) and bool(value.strip())


def is_name(value: object) -> bool:
    """Text or an integer that names one file, without parts of a path."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    name = str(value)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def are_paths(value: object) -> bool:
    """A list of at least one path."""
    return is_texts(value) and all(map(is_sentence, value if isinstance(value, list) else ()))


def sentence(name: str, *other_names: str) -> Field:
    """A field of text, or one of the fields that can stand for it."""
    return Field(name, is_sentence, "text that is not empty", other_names)


def scene_name(name: str) -> Field:
    """A field that names a scene or a folder."""
    return Field(name, is_name, "a name without '/'")


OPTIONS = Field("options", lambda value: value is None or is_texts(value), "a list of texts, or null")


def identifier(name: str) -> Field:
    """A field that names a row."""
    return Field(name, is_text, "text or a number")


def rows_of(
    file: Path,
    required: Sequence[Field] = (),
    optional: Sequence[Field] = (),
    unique: Sequence[str] = (),
    without: Sequence[str] = (),
) -> list[Row]:
    """The rows of a JSON list, of JSON Lines or of a parquet file.

    Args:
        file: by its ending.
        required: fields that each row has.
        optional: fields that are usable where a row has them.
        unique: fields whose values no two rows share.
        without: columns of a parquet file that are not read.

    Raises:
        InputError: the file cannot be read as such, or a row lacks a field.
        ConfigError: two rows share an id.
        DependencyError: it is parquet, and pyarrow is not installed.
    """
    rows: list[Row] = []
    places: dict[str, str] = {}
    for location, row in _located(file, without):
        if not isinstance(row, dict):
            raise unreadable(file, f"{location}: {type(row).__name__} in the place of an object")
        for field in (*required, *(field for field in optional if field.name in row)):
            if problem := field.problem(row):
                raise unusable(file, location, field.name, problem, row.get(field.name), field.meaning)
        key = " ".join(str(row[name]) for name in unique if name in row)
        if key and key in places:
            what = "Invalid ids: two questions have one id."
            got = f"{key!r} in {places[key]} and {location} of {file}"
            raise ConfigError(what, got=got, expected="unique ids", fix="check the data")
        places[key] = location
        rows.append(row)
    return rows


def unusable(file: Path, location: str, name: str, problem: str, value: object, expected: str) -> InputError:
    """The error for a field of a row."""
    what = f"Invalid row: {file}, {location}: {name!r} is {problem}."
    got = None if problem == "missing" else repr(value)[:200]
    return InputError(what, got=got, expected=expected, fix="correct the row")


def read_json(file: Path) -> Any:
    """Any value of a JSON file.

    Raises:
        InputError: the file cannot be read.
    """
    content = read_text(file)
    with reading(file):
        return json.loads(content)


def read_text(file: Path) -> str:
    """The text of a file, without the mark that some editors put in front.

    Raises:
        InputError: the file cannot be read.
    """
    with reading(file):
        return file.read_text(encoding="utf-8-sig")


def unreadable(file: Path, got: str, what: str = "", expected: str = ROWS) -> InputError:
    """The error for a file that does not hold what is expected; ``what`` stands before its path."""
    fix = "check the path and the format, or get the file again"
    return InputError(f"Cannot read {what}{file}.", got=got, expected=expected, fix=fix)


@contextlib.contextmanager
def reading(file: Path, location: str = "", what: str = "", expected: str = ROWS) -> Iterator[None]:
    """Turn a failed read inside the block into one typed error.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, NotImplementedError, RecursionError) as error:  # pyarrow's, too
        got = f"{location}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise unreadable(file, got, what, expected) from None


def _located(file: Path, without: Sequence[str]) -> list[tuple[str, Any]]:
    """The rows of a file, each after its place: ``line 7`` or ``row 7``."""
    if file.suffix == ".jsonl":
        lines = read_text(file).split("\n")  # `splitlines` would also cut at line breaks inside of strings
        located = []
        for number, line in enumerate(lines, 1):
            with reading(file, f"line {number}: "):
                if line.strip():
                    located.append((f"line {number}", json.loads(line)))
        return located
    if file.suffix == ".parquet":
        with reading(file):
            table = parquet().ParquetFile(file)
            columns = [name for name in table.schema_arrow.names if name not in without]
            rows = table.read(columns=columns).to_pylist()
    else:
        rows = read_json(file)
    if isinstance(rows, dict):  # SQA3D wraps its list
        rows = next((value for value in rows.values() if isinstance(value, list)), None)
    if not isinstance(rows, list):
        raise unreadable(file, "something else than a list of objects")
    return [(f"row {number}", row) for number, row in enumerate(rows, 1)]
