"""Files as documents, for `aime ingest` and the filesystem connector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub.sdk.files import FileRecord, find_files, read_documents


def read(path: Path, **options: int) -> list[FileRecord]:
    return list(read_documents(path, path.name, **options))


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_folder_gives_its_readable_files_in_order_without_the_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.HTML", "sub/d.jsonl", ".git/e.md", ".hidden.md", "image.png"):
        write(tmp_path / name, "x")
    found = [str(path.relative_to(tmp_path)) for path in find_files(tmp_path)]
    assert found == ["a.txt", "b.md", "sub/c.HTML", "sub/d.jsonl"]


def test_a_link_to_a_folder_above_does_not_lead_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "a.md", "x")
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert [path.name for path in find_files(tmp_path)] == ["a.md"]


@pytest.mark.parametrize(
    ("name", "content", "title", "content_type"),
    [
        ("a.md", "# Reset your *password*\n\nText.", "Reset your *password*", "text/markdown"),
        ("a.md", "---\ntags: x\n---\n\n# After front matter #\n", "After front matter", "text/markdown"),
        ("a.md", "# Windows\r\n\r\nText.", "Windows", "text/markdown"),
        ("a.md", "Text.\n\n# Not the first thing\n", "a", "text/markdown"),
        ("a.html", "<head><title>\n R&amp;D </title></head>", "R&D", "text/html"),
        ("a.txt", "# a comment", "a", "text/plain"),
    ],
)
def test_a_text_is_one_document_with_the_title_that_it_gives_itself(
    tmp_path: Path, name: str, content: str, title: str, content_type: str
) -> None:
    [record] = read(write(tmp_path / name, content))
    assert record.fields == {
        "document_id": name,
        "content": content,
        "metadata": {"title": title, "content_type": content_type},
    }


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.md", "# x" + " " * 100_000 + "y"),
        ("a.md", "\n" * 100_000),
        ("a.md", "---\n" * 25_000),
        ("a.html", "<title" * 20_000),
        ("a.html", "<title>" * 20_000),
    ],
)
def test_a_hostile_head_is_read_in_no_time(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    for _ in range(20):
        assert read(path)[0].fields is not None


def test_lines_in_our_form_and_in_that_of_beir_become_the_same_fields(tmp_path: Path) -> None:
    lines = [
        {"document_id": "1", "content": "One.", "metadata": {"title": "T", "domain": "d"}},
        {"_id": "1", "title": "T", "text": "One.", "metadata": {"domain": "d"}},
        {"_id": "2", "title": "", "text": "Two."},
    ]
    records = read(write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, lines))))
    assert records[0].fields == records[1].fields == lines[0]
    assert records[2].fields == {"document_id": "2", "content": "Two.", "metadata": {}}


def test_a_bad_line_is_named_with_file_and_line_and_its_neighbours_go_on(tmp_path: Path) -> None:
    path = write(tmp_path / "c.ndjson", '{"_id": "1", "text": "One."}\n\n{broken\n[]\n{"_id": "2", "text": "Two."}')
    records = read(path)
    assert [record.where for record in records] == [f"{path}:{line}" for line in (1, 3, 4, 5)]
    assert [record.error is None for record in records] == [True, False, False, True]
    assert "JSON" in str(records[1].error)
    assert "object" in str(records[2].error)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('{"_id": "1", "text": "x", "colour": "red"}', "colour"),
        ('{"_id": "1", "title": "x"}', "text"),
        ('{"_id": "1", "text": "x", "metadata": []}', "metadata"),
    ],
)
def test_a_line_of_beir_that_does_not_fit_names_the_field(tmp_path: Path, line: str, names: str) -> None:
    [record] = read(write(tmp_path / "c.jsonl", line))
    assert record.error is not None
    assert record.error.startswith(f"{names}: ")


def test_a_line_over_the_cap_is_refused_and_the_next_one_is_read(tmp_path: Path) -> None:
    long = json.dumps({"_id": "1", "text": "x" * 2_000_000})
    path = write(tmp_path / "c.jsonl", f'{long}\n{{"_id": "2", "text": "Two."}}\n')
    first, second = read(path, max_content_bytes=1000)
    assert "too long" in str(first.error)
    assert (second.where, second.fields is not None) == (f"{path}:2", True)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.md", b"x" * 1001, "larger than 1,000 bytes"),
        ("a.txt", b"ok \xff", "not UTF-8 at byte 3"),
        ("a.pdf", b"%PDF", "none of the files"),
    ],
)
def test_a_file_that_cannot_be_a_document_says_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    [record] = read(write(tmp_path / name, content), max_content_bytes=1000)
    assert says in str(record.error)


def test_a_file_that_is_gone_says_so(tmp_path: Path) -> None:
    [record] = read(tmp_path / "gone.md")
    assert record.error == "cannot be read: No such file or directory"
