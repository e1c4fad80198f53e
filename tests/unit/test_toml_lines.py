"""The line of every key, for errors that people can act on."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.toml_lines import KeyPath, key_lines, nearest_line


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ("a = 1\nb = 2\n", ("b",), 2),
        ("# a = 0\n\n[t]\nk = 1 # [x]\n", ("t", "k"), 4),
        ("[t]\n\n[t.u]\nk = 1", ("t", "u", "k"), 4),
        ("[t.u]\nk = 1\n[t]\nj = 2", ("t",), 3),
        ("[t]\na.b.c = 1\na.b.d = 2", ("t", "a", "b", "d"), 3),
        ("[t]\n\"a b\".'c.d' = 1", ("t", "a b", "c.d"), 2),
        (r'"caf\u00e9" = 1' + "\nx = 2", ("café",), 1),
        ("i = { a = 1, b = { c = 2 } }\nj = 1", ("i", "b", "c"), 1),
        ('l = [\n  "a", # one\n  "b"\n]\nk = 1', ("l", 1), 3),
        ('l = [\n  "a", # one\n  "b",\n]\nk = 1', ("k",), 5),
        ("l = [\n  [1, 2],\n  { x = 3 },\n]", ("l", 1, "x"), 3),
        ('s = """\n[no]\nk = 1\n"""\nk = 2', ("k",), 5),
        ("s = '''\n[no]\n''k = 1'''''\nk = 2", ("k",), 4),
        ('s = """a\\"""" # quote\nk = 2', ("k",), 2),
        ('s = "a # b = [ \\" ]"\nk = 2', ("k",), 2),
        ("d = 2026-01-01T00:00:00Z\nf = 1e3\nk = true", ("k",), 3),
        ("[[p]]\nn = 1\n[[p]]\nn = 2\n[p.q]\nm = 3", ("p", 1, "n"), 4),
        ("[[p]]\nn = 1\n[[p]]\nn = 2\n[p.q]\nm = 3", ("p", 1, "q", "m"), 6),
    ],
)
def test_a_key_is_found_on_its_line(text: str, path: KeyPath, line: int) -> None:
    tomllib.loads(text)
    assert key_lines(text)[path] == line


def test_a_key_that_is_not_written_down_has_the_line_of_what_stands_around_it() -> None:
    lines = key_lines("[a]\nb = 1\n[a.c]\nd = 2")
    assert nearest_line(lines, ("a", "c", "missing", 3)) == 3
    assert nearest_line(lines, ("other",)) is None


KEYS = st.text("abcXYZ019_-", min_size=1, max_size=4)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00", exclude_categories=["Cc", "Cs"]), max_size=12)
VALUES = st.recursive(
    st.one_of(st.integers(-99, 99), st.booleans(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def written(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[\n" + "".join(f"  {written(item)}, # ], {{\n" for item in value) + "]"
        case dict():
            return "{" + ", ".join(f"{key} = {written(item)}" for key, item in value.items()) + "}"
    raise AssertionError(value)


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    found: set[KeyPath] = {path} if path else set()
    if isinstance(value, dict):
        items = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for key, item in items:
        found |= paths(item, (*path, key))
    return found


@given(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
def test_every_key_of_any_document_is_found_and_nothing_else_is(document: dict[str, dict[str, object]]) -> None:
    text = "".join(
        f"\n[{table}] # x\n" + "".join(f"{key} = {written(value)}\n" for key, value in pairs.items())
        for table, pairs in document.items()
    )
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return  # an inline table over several lines, which TOML 1.0 does not know
    lines = key_lines(text)
    assert set(lines) == paths(parsed)
    numbered = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert path[-1] in numbered[line - 1]


@given(st.text(max_size=200))
def test_text_that_is_no_toml_ends_too(text: str) -> None:
    assert isinstance(key_lines(text), dict)
