"""Text of a model or of a data set inside Markdown: read as text by every renderer, never as markup.

Decision: only the start of markup is written as an entity or behind a backslash, so that the file
can be read as it is, too. Renderers also make links of bare addresses; dots between letters and double
slashes are escaped against that.
"""

from __future__ import annotations

import re

_MARKUP = re.compile(
    r"(?P<line>[\r\n]+)"
    r"|(?P<entity>[|<>&\\`@$])"  # a pipe ends a cell even behind a backslash, in some renderers
    r"|(?P<mark>[*\[\]~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=/)/|(?<=\w)\.(?=[A-Za-z]))"
)


def escaped(text: str) -> str:
    """Text for one line of Markdown or one cell of a table; line breaks become blanks."""
    return _MARKUP.sub(_replaced, text)


def _replaced(match: re.Match[str]) -> str:
    if match["line"]:
        return " "
    return f"&#{ord(match['entity'])};" if match["entity"] else f"\\{match['mark']}"
