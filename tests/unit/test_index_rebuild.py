"""However the index was fed, interrupted and restarted, it equals one that is made anew from the log."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.answering.filters import parse_filters
from core.index import Index, Question
from core.model import EVERYONE, OPERATOR, Viewer
from core.views import EntityView
from tests.unit.graph_log import GraphLog

TITLES = [
    "Ada Lovelace",
    "Analytical Engine",
    "Analytical Engine (machine)",
    "Engine",
    "The",
    "Notes on it",
    "analytical-engine",
]
SENTENCES = [
    "Ada Lovelace wrote notes on the Analytical Engine.",
    "the analytical engine was an ENGINE.",
    "Charles Babbage met Ada Lovelace in London.",
    "Nothing of note happened.",
    "London is large. " * 60,
]
QUESTIONS = ["Who wrote about the Analytical Engine?", "analytical engine london", "nothing", "Ada Lovelace or Engine?"]
VIEWERS = [OPERATOR, EVERYONE, Viewer(frozenset({"staff"}))]

document_ids = st.sampled_from([f"d{number}" for number in range(6)])
contents = st.lists(st.sampled_from(SENTENCES), max_size=4).map("\n\n".join)
accesses = st.sampled_from([None, ("staff",), ()])
documents = st.tuples(
    document_ids,
    contents,
    st.fixed_dictionaries(
        {}, optional={"title": st.sampled_from(TITLES), "access": accesses, "language": st.sampled_from(["de", "ja"])}
    ),
)


class IncrementalIndex(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.log = GraphLog()
        self.directory = Path(tempfile.mkdtemp(prefix="index-"))
        self.index = self.opened()

    def opened(self) -> Index:
        index = Index(self.directory)
        index.open(0)
        return index

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.equals_a_rebuild(as_of=self.log.version // 2, source=None)
            self.index.close()
            shutil.rmtree(self.directory)

    # -- the graph changes

    @rule(documents=st.lists(documents, min_size=1, max_size=3))
    def put(self, documents: list[tuple[str, str, dict[str, object]]]) -> None:
        for id_, content, metadata in documents:
            self.log.put(id_, content, {"source": id_[-1], **metadata})

    @precondition(lambda self: self.log.documents)
    @rule(data=st.data(), access=accesses, delete=st.booleans())
    def change(self, data: st.DataObject, access: tuple[str, ...] | None, delete: bool) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.log.documents)))
        if delete:
            self.log.delete(id_)
        else:
            self.log.access(id_, access)

    # -- the index follows, or not yet

    @rule(count=st.integers(1, 8), then=st.sampled_from(["ask", "ask", "flush", ""]))
    def feed(self, count: int, then: str) -> None:
        start = self.index.version
        self.index.apply(self.log.entries[start : start + count])
        if then == "ask":
            self.index.search(Question("analytical engine"))
        elif then == "flush":
            self.index.flush()

    @rule(count=st.integers(0, 20), torn=st.integers(0, 3000))
    def restart(self, count: int, torn: int) -> None:
        """The process ends, the last `torn` bytes of the vectors are lost, and `count` entries are fed at first."""
        self.index.close()
        vectors = self.directory / "vectors"
        os.truncate(vectors, max(vectors.stat().st_size - torn, 0))
        self.index = self.opened()
        self.index.apply(self.log.entries[:count])

    # -- and in the end

    @rule(as_of=st.integers(0, 1000), source=st.sampled_from([None, "1", "2"]))
    def equals_a_rebuild(self, as_of: int, source: str | None) -> None:
        self.index.apply(self.log.entries[self.index.version :])
        fresh = Index(None)
        fresh.open(0)
        fresh.apply(self.log.entries)
        filters = parse_filters({"source": source} if source else {})
        for viewer in VIEWERS:
            for text in QUESTIONS:
                for version in (None, as_of % (self.log.version + 1)):
                    question = Question(text, filters, viewer, version, top_k=6)
                    assert _plain(self.index, question) == pytest.approx(_plain(fresh, question), abs=1e-5)
            assert _entities(self.index, viewer) == _entities(fresh, viewer)

    @invariant()
    def stands_at_what_it_was_fed(self) -> None:
        if hasattr(self, "index"):
            assert self.index.version <= self.log.version


def _plain(index: Index, question: Question) -> dict[object, float]:
    """A ranking as numbers by name; the order of the chunks is that of their scores."""
    ranking = index.search(question)
    features = {
        (chunk.chunk_id, feature): float(getattr(chunk, feature))
        for chunk in ranking.chunks
        for feature in ("score", "lexical", "dense", "walk", "titled")
    }
    entities = {("entity", asked.entity.id, asked.titles): asked.share for asked in ranking.entities}
    terms = {("term", term): weight for term, weight in ranking.terms.items()}
    documents = {("document", hit.document_id, hit.chunk_id): hit.score for hit in ranking.documents}
    assert [hit.score for hit in ranking.documents] == sorted((hit.score for hit in ranking.documents), reverse=True)
    return {**features, **entities, **terms, **documents}


def _entities(index: Index, viewer: Viewer) -> list[EntityView | None]:
    return [index.entity(int(summary.id, 16), viewer) for summary in index.entities("", 1000, viewer)]


TestIncrementalIndex = IncrementalIndex.TestCase
TestIncrementalIndex.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
