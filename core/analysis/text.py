"""The text of a document: what offsets are counted in.

HTML is read by a tokenizer of our own rather than by a tree builder. Only the text is wanted, and building the tree is
where hostile pages hurt: 200,000 open `<div>` take a conforming parser minutes (each start tag searches the stack of
open elements), and unclosed formatting elements are made again in every later paragraph. This one is linear in time and
memory.
"""

from __future__ import annotations

import html
import re

from core.analysis.source import Source

_TAG = re.compile(
    r"""
      <!--(?:>|->|.*?(?:--!?>|\Z))                            # a comment; an open one takes the rest, as in browsers
    | <(?P<raw>script|style|template|noscript|iframe|title)(?=[\s/>])
        .*?(?:</(?P=raw)(?=[\s/>])[^>]*+>?|\Z)
    | </?(?P<name>[a-z][^\s/><]*+)(?:[^>=]|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+>?   # a quote counts after = alone
    | <[!?/][^>]*+>?                                          # doctype, processing instruction, bogus comment
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure
    footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol optgroup option p pre
    search section select summary table tbody tfoot thead tr ul
    """.split()  # noqa: SIM905  a block of words reads better than quoted strings
)
_SPACE = re.compile(r"[ \t\r\n\f]+")
_SPACES = re.compile(r"  ++")
_BREAKS = re.compile(r" ?\n[ \n]*+")


_OVERLONG_REFERENCE = re.compile(r"&#(?:[xX][0-9a-fA-F]{7,}+|[0-9]{8,}+);?")


def text_of(source: Source) -> str:
    """The text that the document's chunks partition."""
    return _html_text(source.content) if source.content_type == "text/html" else source.content


def _html_text(source: str) -> str:
    """Text as a reader sees it: white space collapsed, a blank line between blocks, scripts and styles left out."""
    pieces: list[str] = []
    position = 0
    for tag in _TAG.finditer(source):
        if tag.start() > position:
            pieces.append(_plain(source[position : tag.start()]))
        position = tag.end()
        name = (tag["name"] or "").lower()
        if name in _BLOCKS:
            pieces.append("\n\n")
        elif name == "br":
            pieces.append("\n")
        elif name in {"td", "th"}:
            pieces.append(" ")
    pieces.append(_plain(source[position:]))
    # A character reference can spell what documents may not hold.
    text = _SPACES.sub(" ", "".join(pieces).replace("\x00", "\ufffd"))
    return _BREAKS.sub(lambda run: "\n\n" if run[0].count("\n") > 1 else "\n", text).strip()


def _plain(source: str) -> str:
    """Text between tags, its character references resolved. No character has a number of more than seven digits."""
    return html.unescape(_OVERLONG_REFERENCE.sub("\ufffd", _SPACE.sub(" ", source)))
