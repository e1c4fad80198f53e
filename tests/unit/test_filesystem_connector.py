"""The filesystem connector on real folders."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.filesystem.checkpoint import FilesystemCheckpoint
from connectors.filesystem.config import FilesystemConfig
from connectors.filesystem.connector import Filesystem
from connectors.filesystem.patterns import Patterns
from hub.sdk import NotReady
from tests.connector_rig import Graph, context, pull, window

AGES_AGO = 1_600_000_000_000_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def deny(path: Path) -> None:
    """Take every permission away; skips for a user to whom that means nothing."""
    mode = path.stat().st_mode
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.chmod(mode)
        pytest.skip("this user may read everything")


def line(document_id: str, content: str) -> str:
    return json.dumps({"document_id": document_id, "content": content}) + "\n"


def connector(root: Path, **options: Any) -> Filesystem:
    return Filesystem(FilesystemConfig.model_validate({"path": str(root), **options}), context())


async def listed(connector: Filesystem) -> set[str]:
    return {document_id async for document_id in connector.list_ids()}


class Follower:
    """Pulls again and again, as the hub does."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.connector = connector(root, **options)
        self.graph = Graph()
        self.checkpoint: Any = None

    async def run(self) -> Graph:
        """The graph after another run; its failures, deletes and writes are those of this run."""
        self.graph.failures, self.graph.deletes, self.graph.writes = [], [], 0
        self.checkpoint = await pull(self.connector, self.graph, self.checkpoint)
        return self.graph


# ---------------------------------------------------------------- what it reads


async def test_nested_files_become_documents_named_by_their_paths(root: Path) -> None:
    put(root / "a.md", "# Title\n\nText.")
    put(root / "sub/deep/b.HTML", "<title>Page</title><p>Text</p>")
    put(root / "sub/c.txt", "Text.")
    put(root / "image.png", b"\x89PNG")
    os.utime(root / "a.md", ns=(AGES_AGO, AGES_AGO))
    graph = await Follower(root).run()
    assert graph.documents.keys() == {"docs/a.md", "docs/sub/deep/b.HTML", "docs/sub/c.txt"}
    assert graph.documents["docs/a.md"].metadata.as_json() == {
        "title": "Title",
        "content_type": "text/markdown",
        "path": "a.md",
        "updated_at": "2020-09-13T12:26:40Z",
    }
    assert graph.documents["docs/sub/deep/b.HTML"].metadata.title == "Page"


async def test_the_lines_of_ndjson_are_documents_with_ids_of_their_own(root: Path) -> None:
    put(root / "c.jsonl", line("one", "1") + '{"_id": "two", "title": "T", "text": "2"}\n')
    graph = await Follower(root).run()
    assert {id_: document.content for id_, document in graph.documents.items()} == {"one": "1", "two": "2"}


async def test_a_bad_line_is_named_with_file_and_line_and_its_neighbours_go_on(root: Path) -> None:
    put(root / "sub/c.ndjson", line("one", "1") + "{broken\n" + line("", "no id") + line("two", "2"))
    graph = await Follower(root).run()
    assert graph.documents.keys() == {"one", "two"}
    assert [failure.error.split(": ")[0] for failure in graph.failures] == ["sub/c.ndjson:2", "sub/c.ndjson:3"]


async def test_what_cannot_be_read_is_a_failure_of_that_document(root: Path) -> None:
    put(root / "latin.txt", b"caf\xe9")
    put(root / "nul.txt", "a\x00b")
    put(root / "large.md", "x" * 101)
    put(root / "good.md", "x" * 100)
    follower = Follower(root, max_bytes=100)
    graph = await follower.run()
    assert graph.documents.keys() == {"docs/good.md"}
    assert {failure.document_id: failure.error for failure in graph.failures} == {
        "docs/large.md": "large.md: is larger than 100 bytes (hub.max_content_bytes)",
        "docs/latin.txt": "latin.txt: is not UTF-8 at byte 3",
        "docs/nul.txt": "nul.txt: content: contains NUL at character 1",
    }


async def test_a_file_without_permission_is_a_failure_until_it_has_it(root: Path) -> None:
    deny(put(root / "a.md", "text"))
    follower = Follower(root)
    assert [failure.document_id for failure in (await follower.run()).failures] == ["docs/a.md"]
    (root / "a.md").chmod(0o600)
    assert (await follower.run()).documents.keys() == {"docs/a.md"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
async def test_names_that_no_id_can_hold_are_encoded_and_stay_apart(root: Path) -> None:
    for name in (b"caf\xe9.md", b"caf%E9.md", "café.md".encode(), b"a\nb.md", b"100%.md"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text(f"This is {name!r}.")
    graph = await Follower(root).run()
    assert not graph.failures
    assert {id_: document.content for id_, document in graph.documents.items()} == {
        "docs/caf%E9.md": "This is b'caf\\xe9.md'.",
        "docs/caf%25E9.md": "This is b'caf%E9.md'.",
        "docs/café.md": f"This is {'café.md'.encode()!r}.",
        "docs/a%0Ab.md": "This is b'a\\nb.md'.",
        "docs/100%.md": "This is b'100%.md'.",
    }


async def test_hidden_and_excluded_files_are_left_out_and_only_included_ones_are_taken(root: Path) -> None:
    for name in ("a.md", "b.txt", ".git/c.md", "drafts/d.md", "sub/drafts/e.md", "sub/f.md", "sub/g.txt"):
        put(root / name, "x")
    assert (await Follower(root).run()).documents.keys() == {
        f"docs/{name}" for name in ("a.md", "b.txt", "drafts/d.md", "sub/drafts/e.md", "sub/f.md", "sub/g.txt")
    }
    some = await Follower(root, include="*.md", exclude=["drafts", ".*"]).run()
    assert some.documents.keys() == {"docs/a.md", "docs/sub/f.md"}
    below = await Follower(root, include=["sub/**"], exclude=["**/drafts/*"]).run()
    assert below.documents.keys() == {"docs/sub/f.md", "docs/sub/g.txt"}


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*.md", ("a.md", "x/y/a.md"), ("a.mdx", "a.md/b")),
        ("x/*.md", ("x/a.md",), ("x/y/a.md", "a.md", "z/x/a.md")),
        ("**/a.md", ("a.md", "x/y/a.md"), ("ba.md", "x/ba.md")),
        ("x/**", ("x/a", "x/y/a"), ("x", "xy/a")),
        ("/x/y/", ("x/y",), ("z/x/y",)),
        ("[ab]?.t*", ("a1.txt", "b2.t"), ("c1.txt", "a.txt")),
        ("[!a]", ("b",), ("a",)),
        ("[", ("[",), ("a",)),
        ("a.b", ("a.b",), ("axb",)),
    ],
)
def test_patterns_match_as_people_expect(pattern: str, matches: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert [path for path in (*matches, *others) if Patterns([pattern]).match(path)] == list(matches)


async def test_links_are_followed_only_when_asked_and_never_in_circles(root: Path, tmp_path: Path) -> None:
    put(tmp_path / "outside/b.md", "b")
    put(root / "a/a.md", "a")
    (root / "a/up").symlink_to(root, target_is_directory=True)
    (root / "out").symlink_to(tmp_path / "outside", target_is_directory=True)
    (root / "nowhere.md").symlink_to(root / "no such file")
    assert (await Follower(root).run()).documents.keys() == {"docs/a/a.md"}
    followed = await Follower(root, follow_symlinks=True).run()
    assert followed.documents.keys() == {"docs/a/a.md", "docs/out/b.md"}
    assert not followed.failures


async def test_a_single_file_and_several_roots_can_be_named(root: Path) -> None:
    one = put(root / "one/a.md", "1")
    put(root / "two/a.md", "2")
    assert (await Follower(one, prefix="").run()).documents.keys() == {"a.md"}
    both = await Follower(root, path=[str(root / "one"), str(root / "two")]).run()
    assert both.documents.keys() == {"docs/one/a.md", "docs/two/a.md"}
    with pytest.raises(ValidationError, match="the same last name"):
        FilesystemConfig(path=(str(root / "one"), str(root / "two/../one")))


# ---------------------------------------------------------------- what changes


async def test_only_what_was_edited_is_read_again(root: Path) -> None:
    for name in ("a.md", "b.md"):
        put(root / name, "old")
    follower = Follower(root)
    await follower.run()
    await follower.run()  # a file that was changed just before the first scan is read twice, to be sure
    put(root / "b.md", "new")
    graph = await follower.run()
    assert graph.documents["docs/b.md"].content == "new"
    assert graph.writes == 1


async def test_an_edit_that_keeps_size_and_time_is_seen(root: Path) -> None:
    path = put(root / "a.md", "old")
    os.utime(path, ns=(AGES_AGO, AGES_AGO))
    follower = Follower(root)
    await follower.run()
    path.write_text("new")
    os.utime(path, ns=(AGES_AGO, AGES_AGO))
    assert (await follower.run()).documents["docs/a.md"].content == "new"


async def test_renamed_and_removed_files_and_folders_leave_nothing_behind(root: Path) -> None:
    for name in ("a.md", "b.md", "sub/c.md", "sub/deep/d.md", "gone/e.md"):
        put(root / name, name)
    follower = Follower(root)
    await follower.run()
    (root / "a.md").rename(root / "z.md")
    (root / "sub").rename(root / "moved")
    (root / "gone/e.md").unlink()
    (root / "gone").rmdir()
    graph = await follower.run()
    assert graph.documents.keys() == {f"docs/{name}" for name in ("b.md", "z.md", "moved/c.md", "moved/deep/d.md")}


async def test_a_line_that_leaves_its_file_is_deleted_unless_it_moved_to_another(root: Path) -> None:
    put(root / "a.ndjson", line("stays", "1") + line("moves", "2") + line("goes", "3"))
    put(root / "b.ndjson", line("other", "4"))
    follower = Follower(root)
    await follower.run()
    put(root / "a.ndjson", line("stays", "1"))
    put(root / "b.ndjson", line("other", "4") + line("moves", "2"))
    graph = await follower.run()
    assert graph.documents.keys() == {"stays", "moves", "other"}
    assert graph.deletes == ["goes"]
    (root / "b.ndjson").unlink()
    assert (await follower.run()).documents.keys() == {"stays"}


async def test_a_line_that_breaks_does_not_delete_what_it_held(root: Path) -> None:
    put(root / "a.ndjson", line("one", "1") + line("two", "2"))
    follower = Follower(root)
    await follower.run()
    put(root / "a.ndjson", line("one", "1") + '{"document_id": "two", "content": ')
    graph = await follower.run()
    assert graph.documents.keys() == {"one", "two"}
    assert len(graph.failures) == 1


async def test_a_text_that_breaks_keeps_its_last_good_version(root: Path) -> None:
    put(root / "a.md", "good")
    follower = Follower(root)
    await follower.run()
    put(root / "a.md", b"\xff")
    graph = await follower.run()
    assert graph.documents["docs/a.md"].content == "good"
    assert [failure.document_id for failure in graph.failures] == ["docs/a.md"]


async def test_another_prefix_renames_every_document(root: Path) -> None:
    put(root / "a.md", "a")
    put(root / "c.ndjson", line("one", "1"))
    follower = Follower(root)
    await follower.run()
    follower.connector = connector(root, prefix="new-")
    assert (await follower.run()).documents.keys() == {"new-a.md", "one"}


async def test_a_root_that_is_not_there_or_was_emptied_deletes_nothing(root: Path) -> None:
    for number in range(12):
        put(root / f"{number}.md", "x")
    follower = Follower(root)
    await follower.run()
    for path in root.iterdir():
        path.unlink()
    with pytest.raises(NotReady, match="is it mounted"):
        await follower.run()
    root.rmdir()
    with pytest.raises(NotReady, match="No such file"):
        await follower.run()
    assert len(follower.graph.documents) == 12
    assert not (await follower.connector.check()).ok


async def test_a_folder_without_permission_deletes_nothing_and_is_no_complete_listing(root: Path) -> None:
    put(root / "sub/a.md", "a")
    put(root / "b.md", "b")
    follower = Follower(root)
    await follower.run()
    deny(root / "sub")
    try:
        assert (await follower.run()).documents.keys() == {"docs/sub/a.md", "docs/b.md"}
        with pytest.raises(NotReady, match="not complete"):
            await listed(follower.connector)
    finally:
        (root / "sub").chmod(0o700)


async def test_a_file_that_vanishes_while_it_is_read_is_gone_and_no_failure(root: Path) -> None:
    for name in ("a.md", "b.md"):
        put(root / name, name)
    follower = Follower(root)
    pulling = follower.connector.pull(None, window(page_size=1))
    first = await anext(pulling)
    (root / "b.md").unlink()
    rest = [change async for batch in pulling for change in batch.changes]
    assert len(first.changes) == 1
    assert rest == []


async def test_the_listing_names_every_document_that_a_pull_brings(root: Path) -> None:
    put(root / "a/b.md", "x")
    put(root / "c.ndjson", line("one", "1") + line("two", "2"))
    follower = Follower(root)
    assert await listed(follower.connector) == set((await follower.run()).documents)
    put(root / "d.ndjson", "{broken")
    with pytest.raises(NotReady, match=r"d\.ndjson cannot be read as a whole"):
        await listed(follower.connector)


async def test_a_large_tree_makes_a_small_checkpoint_and_few_of_them(root: Path) -> None:
    for number in range(2000):
        put(root / f"{number // 100}/document-{number}.md", "x")
    files = connector(root)
    checkpoints = [
        batch.checkpoint async for batch in files.pull(None, window(page_size=100)) if batch.checkpoint is not None
    ]
    assert len(checkpoints) <= 5
    last = checkpoints[-1]
    assert isinstance(last, FilesystemCheckpoint)
    assert last.files == 2000
    assert len(last.packed) < 40 * 2000


async def test_a_part_that_is_not_mounted_deletes_nothing_until_an_admin_confirms_it(root: Path) -> None:
    for number in range(20):
        put(root / ("mounted" if number < 10 else "kept") / f"{number}.md", "Text.")
    source = connector(root)
    checkpoint = None
    async for batch in source.pull(None, window()):
        checkpoint = batch.checkpoint or checkpoint
    for path in (root / "mounted").iterdir():
        path.unlink()
    with pytest.raises(NotReady, match="10 of 20 files are gone, more than prune_limit"):
        [batch async for batch in source.pull(checkpoint, replace(window(), prune_limit=0.2))]
    batches = [batch async for batch in source.pull(checkpoint, replace(window(), prune_limit=1.0))]
    assert len(batches[-1].changes) == 10
