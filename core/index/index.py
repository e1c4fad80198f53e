"""The search index: an in-process view of the log.

It is interval-versioned like the store: an update or delete closes an interval and removes nothing, so the past is read
at no extra cost, and what the index holds depends on the log alone, not on when it was fed. Kept on disk is only what
is costly to compute (words, vectors); the rest is refilled from the log after every start.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import structlog

from core.analysis import ANALYSER, title_name
from core.analysis.languages import ENGLISH, language_code
from core.analysis.stems import asked_stems, placed_stems, stems, words_of
from core.errors import NotFound, StoreCorrupt
from core.index import lookup
from core.index.asked import named_in
from core.index.audience import Audience, Postings
from core.index.columns import Column
from core.index.documents import Documents
from core.index.entities import Entities, Links
from core.index.facets import Filters
from core.index.gazetteer import Gazetteer
from core.index.lexical import Lexical
from core.index.lookup import Names
from core.index.paths import chains
from core.index.question import AskedEntity, Question, RankedChunk, Ranking, Step, Words
from core.index.recency import asks_for_newest, newest_first
from core.index.retrieval import Evidence, Left, best, rank
from core.index.thesaurus import Thesaurus
from core.index.vectors import VectorFile, Vectors, embedding_table
from core.index.view import View
from core.index.vocabulary import Numbers, Vocabulary
from core.model import EntitySummary, EntityView, Hit, LogEntry, NamedEntity, NewChunk, Viewer
from core.naming import entity

FORMAT: Final = "3"
"""Changes with the layout of what is on disk."""
_COMMIT_CHUNKS = 1_000
_WORDS_OF = 1_024
"""Chunks whose words are looked at together: a book's all at once would take a gigabyte."""
_VIEWS = 4
_EVIDENCE = 12
"""Chunks handed on for composing an answer."""
_MARGIN_DOCUMENTS = 5
"""The best document is compared with this one, however few are asked for."""
_SPARSE = 4
"""Where fewer than one in so many chunks are visible, only their vectors are read."""
_DEPTH = 200
"""Chunks that the words find, at least; deeper ones count as not found. The same whatever `top_k`, as scores are."""
_AUDIENCE_DEPTH = 512
"""And exactly so many for a viewer who is not shown everything: as many as tantivy is asked for at first."""

log = structlog.stdlib.get_logger(__name__)


class _Text(NamedTuple):
    """What there is to read of a chunk."""

    title: str
    text: str
    language: str


class Index:
    """Feed it with `apply`, in the order of the log from the first entry on; ask it with `search`. All calls come
    from one thread at a time. `directory` None keeps everything in memory. `language` is the code of that of documents
    which name none."""

    def __init__(self, directory: Path | None, language: str = ENGLISH) -> None:
        self._directory = directory
        self._language = language
        self.version = 0
        """The last log entry that was applied."""
        self._chunk_ids = Column(np.int64)
        self._documents = Documents()
        self._entities = Entities()
        self._links = Links()
        self._embedder = embedding_table()
        self._vocabulary = Vocabulary(self._embedder.tokenise, self._language)
        self._gazetteer = Gazetteer(self._vocabulary)
        self._thesaurus = Thesaurus(self._embedder)
        self._views: OrderedDict[tuple[Any, ...], View] = OrderedDict()
        self._audiences: dict[tuple[int, Viewer], Audience] = {}
        self._postings: Postings | None = None

    # -- life

    def open(self, epoch: int) -> None:
        """Take over what is on disk if it was made by this code for this epoch of the store; else begin empty."""
        made = json.dumps(
            {
                "analyser": ANALYSER,
                "format": FORMAT,
                "vectors": self._embedder.id,
                "language": self._language,
                "epoch": epoch,
            }
        )
        directory = self._directory
        if directory is None:
            self._open_parts(None)
            return
        try:
            if (directory / "made-by").read_text() == made:
                self._open_parts(directory)
                return
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("the index on disk is damaged and is built anew", directory=str(directory), error=str(error))
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._open_parts(directory)
        (directory / "made-by").write_text(made)

    def _open_parts(self, directory: Path | None) -> None:
        # Before anybody is served: it would hold up the event loop in the middle of the first document or question.
        self._embedder.load()
        self._lexical = Lexical(directory / "words" if directory else None, self._language)
        self._prints = self._lexical.prints()
        self._vectors = VectorFile(directory / "vectors" if directory else None, self._lexical.count)
        self._holes = self._vectors.holes()

    def flush(self) -> None:
        """Keep on disk what was applied, unless it is so little that a restart does it again in no time."""
        if self._lexical.uncommitted >= _COMMIT_CHUNKS and self._lexical.commit():
            self._postings = None

    def _settle(self) -> None:
        """Make all that was applied findable."""
        if self._lexical.commit():
            self._postings = None
        if self._gazetteer.pending:
            self._links.add_found(self._gazetteer.matches(self._lexical.phrase))
            self._views.clear()

    def close(self) -> None:
        self._lexical.close()
        self._vectors.close()

    # -- feeding

    def apply(self, entries: Sequence[LogEntry]) -> None:
        """Take the next entries of the log. Raises StoreCorrupt when what is on disk comes from another log."""
        added: list[_Text] = []
        for entry in entries:
            metadata = entry.document.metadata if entry.document else None
            title = metadata.title or "" if metadata else ""
            tag = metadata.language if metadata else None
            language = language_code(tag) if tag else self._language
            positions = {chunk.id: self._add_chunk(chunk) for chunk in entry.chunks}
            added.extend(_Text(title, chunk.text, language) for chunk in entry.chunks)
            previous = self._documents.close(entry.document_id, entry.version)
            if entry.document is not None:
                positions.update((int(self._chunk_ids.values[held]), held) for held in previous)
                held = [positions[chunk_id] for chunk_id in entry.document.chunk_ids]
                self._documents.add(entry.document, self._title_number(title), held)
            self.version = entry.version
        first = len(self._chunk_ids) - len(added)
        for at in range(0, len(added), _WORDS_OF):
            self._add_words(first + at, added[at : at + _WORDS_OF])
        self._views.clear()
        self._audiences.clear()

    def _add_chunk(self, chunk: NewChunk) -> int:
        """The chunk's position: its number in the order of the log."""
        position = len(self._chunk_ids)
        self._chunk_ids.append(chunk.id)
        self._links.add_mentions(position, chunk.named, self._entities)
        return position

    def _add_words(self, first: int, added: Sequence[_Text]) -> None:
        """The texts of the chunks from position `first` on, together: it costs a fraction of one by one."""
        words = [(words_of(text.title), words_of(text.text)) for text in added]
        self._vocabulary.learn(chain.from_iterable(words))
        numbers = [self._vocabulary.numbers(text) for _, text in words]
        lengths = np.fromiter(map(len, numbers), np.int64, len(numbers))
        self._gazetteer.add_chunks(self._vocabulary.hashes(np.concatenate(numbers)), lengths)
        whole = [
            np.concatenate([self._vocabulary.numbers(title), text])
            for (title, _), text in zip(words, numbers, strict=True)
        ]
        for position, (text, read) in enumerate(zip(added, whole, strict=True), first):
            self._add_lexical(position, text, read)
        missing = [at for at in range(len(added)) if first + at >= len(self._holes) or self._holes[first + at]]
        if missing:
            self._vectors.put([first + at for at in missing], self._embed([whole[at] for at in missing]))

    def _add_lexical(self, position: int, added: _Text, words: Numbers) -> None:
        text = f"{added.title}\n{added.text}" if added.title else added.text
        print_ = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        if position >= len(self._prints):
            own = added.language == self._language
            length = self._vocabulary.stems(words) if own else len(stems(text, added.language))
            self._lexical.add(text, added.title, print_, added.language, length)
        elif print_ != self._prints[position]:
            raise StoreCorrupt(f"the index in {self._directory} was made from another store")
        else:
            self._lexical.note(added.language)

    def _embed(self, texts: Sequence[Numbers]) -> Vectors:
        """One vector for each text, given by the numbers of its words."""
        tokens, word_ends = self._vocabulary.tokens(np.concatenate(texts))
        ends = np.cumsum([0, *map(len, texts)])
        return self._embedder.embed(tokens, word_ends[ends])

    def _title_number(self, title: str) -> int:
        named = entity(title_name(title)) if title else None
        if named is None:
            return -1
        number = self._entities.number(named)
        if named.label != self._entities.labels[number]:
            self._entities.spellings.setdefault(number, {})
        self._gazetteer.add_title(number, named.label)
        return number

    # -- asking

    def search(self, question: Question) -> Ranking:
        """Rank what the question's viewer may see, as of its version, under its filters."""
        self._settle()
        version = self.version if question.as_of is None else question.as_of
        view = self._view(version, question.viewer, question.filters)
        audience = self._audience(version, question.viewer)
        language, idf, lexical = self._read(question.text, view, audience)
        asked = list(named_in(question.text, self._entities, view))
        evidence = rank(
            view,
            lexical,
            self._dense_scores(view, question.text, language, idf),
            [number for number, _ in asked],
            self._left(list(idf), language, audience),
        )
        if asks_for_newest(question.text) if question.newest is None else question.newest:
            evidence = replace(evidence, score=newest_first(evidence.score, self._documents.date.values[view.row]))
        chunks, documents = self._ranked(view, evidence, max(question.top_k, _MARGIN_DOCUMENTS))
        total = max(len(view.positions), 1)
        names = Names(view, self._entities, self._documents)
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
            terms=idf,
            language=language,
            walked=evidence.walked,
            graph_version=version,
        )

    def words(self, viewer: Viewer, ranking: Ranking) -> Words:
        """What judging an answer takes beside its ranking."""
        audience = self._audience(ranking.graph_version, viewer)
        return Words(lambda stems: self._idf(stems, ranking.language, audience), self._embed_texts)

    def entities(self, text: str, limit: int, viewer: Viewer) -> list[EntitySummary]:
        """Entities that `viewer` may see and whose name contains `text`: those that begin with it first, then the most
        mentioned."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        return lookup.summaries(view, Names(view, self._entities, self._documents), text, limit)

    def entity(self, entity_id: int, viewer: Viewer) -> EntityView:
        """An entity as `viewer` may see it. Raises NotFound."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        number = self._number(entity_id, view)
        return lookup.entity_view(view, Names(view, self._entities, self._documents), self._documents, number)

    def named(self, entity_ids: Collection[int], viewer: Viewer) -> dict[int, NamedEntity]:
        """Those of these entities that `viewer` may see, by id."""
        view = self._view(self.version, viewer, Filters())
        names = Names(view, self._entities, self._documents)
        numbers = {entity_id: self._entities.find(entity_id) for entity_id in entity_ids}
        return {
            entity_id: names.named(number)
            for entity_id, number in numbers.items()
            if number is not None and view.frequency[number]
        }

    def evidence(self, entity_id: int, viewer: Viewer) -> list[int]:
        """Chunks to quote on an entity's page: the first of each document that the page lists, and the first of all."""
        view = self._view(self.version, viewer, Filters())
        positions = lookup.evidence(view, self._number(entity_id, view))
        return [int(chunk_id) for chunk_id in self._chunk_ids.values[positions]]

    def paths(self, first: int, last: int, viewer: Viewer, max_length: int, limit: int) -> list[tuple[Step, ...]]:
        """The shortest chains between two entities, as `viewer` may see them. Raises NotFound for an entity that they
        may not see."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        names = Names(view, self._entities, self._documents)
        ends = self._number(first, view), self._number(last, view)
        return [
            tuple(
                Step(
                    names.named(link.first),
                    names.named(link.second),
                    tuple(int(chunk_id) for chunk_id in self._chunk_ids.values[list(link.positions)]),
                )
                for link in chain
            )
            for chain in chains(view, self._entities.ids.values, *ends, max_length, limit)
        ]

    def _number(self, entity_id: int, view: View) -> int:
        number = self._entities.find(entity_id)
        if number is None or not view.frequency[number]:
            raise NotFound(f"there is no entity {entity_id:016x}")
        return number

    def _view(self, version: int, viewer: Viewer, filters: Filters) -> View:
        """The visible part of the graph; the last few are kept until the graph changes."""
        key = (version, viewer, filters.groups, filters.since, filters.until)
        view = self._views.pop(key, None)
        if view is None:
            rows = self._documents.visible(version, viewer, filters)
            titles = np.zeros(len(self._entities), np.bool_)
            named = self._documents.title.values[rows]
            titles[named[named >= 0]] = True
            row = self._documents.row_of_chunks(rows, len(self._chunk_ids))
            view = View(row, titles, self._links.edges())
        self._views[key] = view
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _read(
        self, text: str, view: View, audience: Audience | None
    ) -> tuple[str, dict[str, float], npt.NDArray[np.float64]]:
        """The question's language, its stems in that with their inverse document frequency, and each chunk's score for
        them in the chunk's own language. The question's language is that of the chunk which it finds best; the store's
        own, when none is."""
        result = np.zeros(len(view.row))
        readings: list[tuple[float, str, list[str]]] = []
        for language in self._lexical.languages:
            asked = asked_stems(text, language)
            if audience is None:
                # The table of neighbours is English.
                alike = self._thesaurus.alike(text) if language == ENGLISH else None
                positions, scores = self._lexical.search(asked, view.positions, _DEPTH, language, alike)
                found = np.zeros(len(view.row))
                found[positions] = scores
                likely = positions[scores >= scores[:_DEPTH].min(initial=np.inf)]
                near, more = self._lexical.phrases(placed_stems(text, language), likely, language)
                found[near] += more
            else:
                terms = [self._lexical.term(stem, language) for stem in asked]
                found = audience.scores(terms, view.row >= 0, _AUDIENCE_DEPTH)
            # A chunk is found in its own language alone.
            result += found
            readings.append((float(found.max(initial=0.0)), language, asked))
        _, language, asked = max(readings, key=lambda reading: reading[0])
        return language, self._idf(asked, language, audience), result

    def _idf(self, asked: Sequence[str], language: str, audience: Audience | None) -> dict[str, float]:
        if audience is None:
            return self._lexical.idf(asked, language)
        idf = audience.idf([self._lexical.term(stem, language) for stem in asked])
        return dict(zip(asked, idf.values(), strict=True))

    def _left(self, asked: Sequence[str], language: str, audience: Audience | None) -> Left:
        """What the question leaves to find, by the statistics that count for the viewer."""
        if audience is None:
            return lambda seeds, among: self._lexical.left(asked, seeds, among, language)
        terms = [self._lexical.term(stem, language) for stem in asked]
        return lambda seeds, among: audience.left(terms, seeds, among)

    def _audience(self, version: int, viewer: Viewer) -> Audience | None:
        """Whose statistics count: None for the operator, who sees everything."""
        if viewer.principals is None:
            return None
        if self._postings is None:
            self._postings = Postings(self._lexical)
            self._audiences.clear()
        audience = self._audiences.get((version, viewer))
        if audience is None:
            if len(self._audiences) >= _VIEWS:
                self._audiences.clear()
            rows = self._documents.visible(version, viewer, Filters())
            visible = np.flatnonzero(self._documents.row_of_chunks(rows, len(self._chunk_ids)) >= 0)
            audience = Audience(self._postings, visible, len(self._chunk_ids))
            self._audiences[version, viewer] = audience
        return audience

    def _dense_scores(self, view: View, text: str, language: str, idf: Mapping[str, float]) -> npt.NDArray[np.float64]:
        result = np.zeros(len(view.row))
        if not len(view.positions):
            return result
        # On disk there may be more than has been fed yet. And one thread: BLAS's would spin for a product this small.
        rows, asked = self._vectors.rows[: len(view.row)], self._embed_question(text, language, idf)
        if len(view.positions) < len(rows) // _SPARSE:
            result[view.positions] = np.vecdot(rows[view.positions], asked)
        else:
            np.copyto(result, np.vecdot(rows, asked), where=view.row >= 0)
        return result

    def _embed_question(self, text: str, language: str, idf: Mapping[str, float]) -> npt.NDArray[np.float32]:
        words = words_of(text)
        rarity = [max((idf.get(stem, 0.0) for stem in stems(word, language)), default=0.0) for word in words]
        return self._embedder.embed_question(words, rarity)

    def _embed_texts(self, texts: Sequence[str]) -> Vectors:
        words = [words_of(text) for text in texts]
        self._vocabulary.learn(words)
        return self._embed([self._vocabulary.numbers(text) for text in words])

    def _ranked(self, view: View, evidence: Evidence, count: int) -> tuple[tuple[RankedChunk, ...], tuple[Hit, ...]]:
        """The best chunks for an answer, and the `count` best documents by their best chunk."""
        depth = max(_EVIDENCE, 4 * count)
        while True:
            order = best(evidence.score, depth)
            rows = view.row[order]
            first = np.sort(np.unique(rows, return_index=True)[1])
            if len(first) >= count or len(order) < depth:
                break
            depth *= 4
        hits = tuple(
            Hit(self._documents.ids[rows[at]], int(self._chunk_ids.values[order[at]]), float(evidence.score[order[at]]))
            for at in first[:count]
        )
        chunks = tuple(
            RankedChunk(
                chunk_id=int(self._chunk_ids.values[position]),
                document_id=self._documents.ids[view.row[position]],
                score=float(evidence.score[position]),
                lexical=float(evidence.lexical[position]),
                dense=float(evidence.dense[position]),
                walk=float(evidence.walk[position]),
                titled=bool(evidence.titled[position]),
            )
            for position in order[:_EVIDENCE]
        )
        return chunks, hits


def _margin(documents: Sequence[Hit]) -> float:
    """How far the best document stands out from the fifth, or from the last of fewer, as a share of its score."""
    scores = [hit.score for hit in documents[:_MARGIN_DOCUMENTS]]
    return (scores[0] - scores[-1]) / scores[0] if len(scores) > 1 else float(bool(scores))
