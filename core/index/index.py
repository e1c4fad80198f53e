"""The search index: an in-process view of the log, asked by questions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection as Several
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.analysis.languages import ENGLISH
from core.analysis.stems import stems, words_of
from core.errors import NotFound
from core.index import lookup
from core.index.asked import named_in
from core.index.audience import Audience
from core.index.collection import Collection
from core.index.facets import Filters
from core.index.lookup import Names
from core.index.paths import chains
from core.index.postings import Postings
from core.index.question import PASSAGES, AskedEntity, Question, RankedChunk, Ranking, Step, Words
from core.index.reading import Reading, read
from core.index.recency import besides_newness, newest_first
from core.index.retrieval import Evidence, rank
from core.index.selection import best
from core.index.thesaurus import Thesaurus
from core.index.view import View
from core.memory import give_back
from core.model import OPERATOR, LogEntry, Viewer
from core.views import EntitySummary, EntityView, Hit, NamedEntity

_VIEWS = 4
_MARGIN_DOCUMENTS = 5
"""The best document is compared with this one, however few are asked for."""
_SPARSE = 4
"""Where fewer than one in so many chunks are visible, only their vectors are read."""
_DEPTH = 512
"""Chunks that the words find at most; deeper ones count as not found. The same whatever `top_k`, as scores are."""


class Index:
    """Feed it with `apply`, in the order of the log from the first entry on; ask it with `search`. All calls come
    from one thread at a time. `directory` None keeps everything in memory. `language` is the code of that of documents
    which name none."""

    def __init__(self, directory: Path | None, language: str = ENGLISH) -> None:
        self._collection = Collection(directory, language)
        self._thesaurus = Thesaurus(self._collection.embedder)
        self._views: OrderedDict[tuple[Any, ...], View] = OrderedDict()
        self._audiences: OrderedDict[tuple[int, Viewer, int], Audience] = OrderedDict()

    @property
    def version(self) -> int:
        """The last log entry that was applied."""
        return self._collection.version

    def open(self, epoch: int) -> None:
        """Take over what is on disk if it was made by this code for this epoch of the store; else begin empty."""
        self._collection.open(epoch)
        self._postings = Postings(self._collection.lexical)

    def apply(self, entries: Sequence[LogEntry]) -> None:
        """Take the next entries of the log. Raises StoreCorrupt when what is on disk comes from another log."""
        self._collection.apply(entries)
        self._views.clear()
        self._audiences.clear()

    def flush(self) -> None:
        """Keep on disk what was applied, unless it is so little that a restart does it again in no time."""
        self._collection.flush()

    def prepare(self, least: int) -> None:
        """Do ahead of the next question what it would wait for, unless fewer chunks than `least` give cause to."""
        if self._collection.unsettled < least:
            return
        self._settle()
        self._thesaurus.load()
        self._view(self.version, OPERATOR, Filters()).prepare()
        give_back()

    def close(self) -> None:
        self._collection.close()

    def _settle(self) -> None:
        """Make all that was applied findable."""
        if self._collection.settle():
            self._views.clear()

    # -- asking

    def search(self, question: Question) -> Ranking:
        """Rank what the question's viewer may see, as of its version, under its filters."""
        self._settle()
        version = self.version if question.as_of is None else question.as_of
        view = self._view(version, question.viewer, question.filters)
        audience = self._audience(version, question.viewer)
        reading, lexical = self._read(question.text, view, audience)
        idf = audience.idf(reading.stems, reading.language)
        asked = list(named_in(question.text, self._collection.entities, view))
        evidence = rank(
            view,
            lexical,
            self._dense_scores(view, question.text, reading.language, idf),
            [number for number, _ in asked],
            lambda seeds, among: audience.left(reading.stems, reading.language, seeds, among),
        )
        if question.wants_newest:
            dates = self._collection.documents.date.values[view.row]
            evidence = replace(evidence, score=newest_first(evidence.score, dates))
        chunks, documents = self._ranked(view, evidence, max(question.top_k, _MARGIN_DOCUMENTS))
        total = max(len(view.positions), 1)
        names = self._names(view)
        return Ranking(
            chunks=chunks,
            documents=documents[: question.top_k],
            margin=_margin(documents),
            entities=tuple(
                AskedEntity(
                    entity=names.named(number),
                    written=written,
                    share=float(view.frequency[number]) / total,
                    titles=bool(view.titles[number]),
                )
                for number, written in asked
            ),
            terms=besides_newness(idf, question.text, reading.language) if question.wants_newest else idf,
            language=reading.language,
            walked=evidence.walked,
            graph_version=version,
        )

    def words(self, viewer: Viewer, ranking: Ranking) -> Words:
        """What judging an answer takes beside its ranking."""
        audience = self._audience(ranking.graph_version, viewer)
        return Words(lambda stems: audience.idf(stems, ranking.language), self._collection.embed_texts)

    def entities(self, text: str, limit: int, viewer: Viewer) -> list[EntitySummary]:
        """Entities that `viewer` may see and whose name contains `text`: those that begin with it first, then the most
        mentioned."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        return lookup.summaries(view, self._names(view), text, limit)

    def entity(self, entity_id: int, viewer: Viewer) -> EntityView:
        """An entity as `viewer` may see it. Raises NotFound."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        number = self._number(entity_id, view)
        return lookup.entity_view(view, self._names(view), self._collection.documents, number)

    def named(self, entity_ids: Several[int], viewer: Viewer) -> dict[int, NamedEntity]:
        """Those of these entities that `viewer` may see, by id."""
        view = self._view(self.version, viewer, Filters())
        names = self._names(view)
        numbers = {entity_id: self._collection.entities.find(entity_id) for entity_id in entity_ids}
        return {
            entity_id: names.named(number)
            for entity_id, number in numbers.items()
            if number is not None and view.frequency[number]
        }

    def evidence(self, entity_id: int, viewer: Viewer) -> list[int]:
        """Chunks to quote on an entity's page: the first of each document that the page lists, and the first of all."""
        view = self._view(self.version, viewer, Filters())
        positions = lookup.evidence(view, self._number(entity_id, view))
        return [int(chunk_id) for chunk_id in self._collection.chunk_ids.values[positions]]

    def paths(self, first: int, last: int, viewer: Viewer, max_length: int, limit: int) -> list[tuple[Step, ...]]:
        """The shortest chains between two entities, as `viewer` may see them. Raises NotFound for an entity that they
        may not see."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        names = self._names(view)
        ends = self._number(first, view), self._number(last, view)
        return [
            tuple(
                Step(
                    names.named(link.first),
                    names.named(link.second),
                    tuple(int(chunk_id) for chunk_id in self._collection.chunk_ids.values[list(link.positions)]),
                )
                for link in chain
            )
            for chain in chains(view, self._collection.entities.ids.values, *ends, max_length, limit)
        ]

    def _number(self, entity_id: int, view: View) -> int:
        number = self._collection.entities.find(entity_id)
        if number is None or not view.frequency[number]:
            raise NotFound(f"there is no entity {entity_id:016x}")
        return number

    def _view(self, version: int, viewer: Viewer, filters: Filters) -> View:
        """The visible part of the graph; the last few are kept until the graph changes."""
        key = (version, viewer, filters.groups, filters.since, filters.until)
        view = self._views.pop(key, None)
        if view is None:
            rows = self._collection.documents.visible(version, viewer, filters)
            titles = np.zeros(len(self._collection.entities), np.bool_)
            named = self._collection.documents.title.values[rows]
            titles[named[named >= 0]] = True
            row = self._collection.documents.row_of_chunks(rows, len(self._collection.chunk_ids))
            view = View(row, titles, self._collection.links.edges())
        self._views[key] = view
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _names(self, view: View) -> Names:
        return Names(view, self._collection.entities, self._collection.documents)

    def _read(self, text: str, view: View, audience: Audience) -> tuple[Reading, npt.NDArray[np.float64]]:
        """The question as it is read in the language of the chunk which its words find best (the store's own, when they
        find none), and each chunk's score for them in the chunk's own language."""
        visible = view.row >= 0
        result = np.zeros(len(view.row))
        readings: list[tuple[float, Reading]] = []
        for language in self._collection.lexical.languages:
            reading = read(text, language, self._thesaurus)
            found = audience.scores(reading, visible, _DEPTH)
            # A chunk is found in its own language alone.
            result += found
            readings.append((float(found.max(initial=0.0)), reading))
        return max(readings, key=lambda each: each[0])[1], result

    def _audience(self, version: int, viewer: Viewer) -> Audience:
        """Whose statistics count; the last few are kept until the graph changes."""
        if viewer.principals is None:
            version = self.version
        # An answer may be judged before what came meanwhile is settled.
        key = (version, viewer, self._collection.lexical.found)
        audience = self._audiences.pop(key, None)
        if audience is None:
            visible = None
            size = len(self._collection.chunk_ids)
            if viewer.principals is not None:
                rows = self._collection.documents.visible(version, viewer, Filters())
                visible = np.flatnonzero(self._collection.documents.row_of_chunks(rows, size) >= 0)
            audience = Audience(self._collection.lexical, self._postings, size, visible)
        self._audiences[key] = audience
        if len(self._audiences) > _VIEWS:
            self._audiences.popitem(last=False)
        return audience

    def _dense_scores(self, view: View, text: str, language: str, idf: Mapping[str, float]) -> npt.NDArray[np.float64]:
        result = np.zeros(len(view.row))
        if not len(view.positions):
            return result
        # On disk there may be more than has been fed yet. And one thread: BLAS's would spin for a product this small.
        rows, asked = self._collection.vectors.rows[: len(view.row)], self._embed_question(text, language, idf)
        if len(view.positions) < len(rows) // _SPARSE:
            result[view.positions] = np.vecdot(rows[view.positions], asked)
        else:
            np.copyto(result, np.vecdot(rows, asked), where=view.row >= 0)
        return result

    def _embed_question(self, text: str, language: str, idf: Mapping[str, float]) -> npt.NDArray[np.float32]:
        words = words_of(text)
        rarity = [max((idf.get(stem, 0.0) for stem in stems(word, language)), default=0.0) for word in words]
        return self._collection.embedder.embed_question(words, rarity)

    def _ranked(self, view: View, evidence: Evidence, count: int) -> tuple[tuple[RankedChunk, ...], tuple[Hit, ...]]:
        """The best chunks for an answer, and the `count` best documents by their best chunk."""
        depth = max(PASSAGES, 4 * count)
        while True:
            order = best(evidence.score, depth)
            rows = view.row[order]
            first = np.sort(np.unique(rows, return_index=True)[1])
            if len(first) >= count or len(order) < depth:
                break
            depth *= 4
        hits = tuple(
            Hit(
                self._collection.documents.ids[rows[at]],
                int(self._collection.chunk_ids.values[order[at]]),
                float(evidence.score[order[at]]),
            )
            for at in first[:count]
        )
        chunks = tuple(
            RankedChunk(
                chunk_id=int(self._collection.chunk_ids.values[position]),
                document_id=self._collection.documents.ids[view.row[position]],
                score=float(evidence.score[position]),
                lexical=float(evidence.lexical[position]),
                dense=float(evidence.dense[position]),
                walk=float(evidence.walk[position]),
                titled=bool(evidence.titled[position]),
            )
            for position in order[:PASSAGES]
        )
        return chunks, hits


def _margin(documents: Sequence[Hit]) -> float:
    """How far the best document stands out from the fifth, or from the last of fewer, as a share of its score."""
    scores = [hit.score for hit in documents[:_MARGIN_DOCUMENTS]]
    return (scores[0] - scores[-1]) / scores[0] if len(scores) > 1 else float(bool(scores))
