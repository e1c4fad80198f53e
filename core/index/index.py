"""The search index: an in-process view of the log.

It is interval-versioned like the store: an update or delete closes an interval and removes nothing, so the past is read
at no extra cost, and what the index holds depends on the log alone, not on when it was fed. Kept on disk is only what
is costly to compute (words, vectors); the rest is refilled from the log after every start.
"""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import structlog

from core.analysis import ANALYSER, entity, title_name
from core.analysis.stems import stems
from core.errors import StoreCorrupt
from core.index import lookup
from core.index.asked import named_in
from core.index.columns import Column
from core.index.documents import Documents
from core.index.entities import Entities, Links
from core.index.facets import Filters
from core.index.gazetteer import Gazetteer
from core.index.lexical import Lexical
from core.index.question import AskedEntity, Question, RankedChunk, Ranking
from core.index.retrieval import Evidence, best, rank
from core.index.vectors import EmbeddingTable, VectorFile, Vectors
from core.index.view import View
from core.model import EntitySummary, EntityView, Hit, LogEntry, StoredChunk, Viewer

FORMAT: Final = "1"
"""Changes with the layout of what is on disk."""
_COMMIT_CHUNKS = 1_000
_VIEWS = 4
_EVIDENCE = 12
"""Chunks handed on for composing an answer."""
_MARGIN_DOCUMENTS = 5
"""The best document is compared with this one, however few are asked for."""
_DEPTH = 200
"""Chunks that the words find, at least; deeper ones count as not found. The same whatever `top_k`, as scores are."""

log = structlog.stdlib.get_logger(__name__)


class Index:
    """Feed it with `apply`, in the order of the log from the first entry on; ask it with `search`. All calls come
    from one thread at a time. `directory` None keeps everything in memory."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self.version = 0
        """The last log entry that was applied."""
        self._chunk_ids = Column(np.int64)
        self._documents = Documents()
        self._entities = Entities()
        self._links = Links()
        self._gazetteer = Gazetteer()
        self._embedder = EmbeddingTable()
        self._views: OrderedDict[tuple[Any, ...], View] = OrderedDict()

    # -- life

    def open(self, epoch: int) -> None:
        """Take over what is on disk if it was made by this code for this epoch of the store; else begin empty."""
        made = json.dumps({"analyser": ANALYSER, "format": FORMAT, "vectors": self._embedder.id, "epoch": epoch})
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
        self._lexical = Lexical(directory / "words" if directory else None)
        self._prints = self._lexical.prints()
        self._vectors = VectorFile(directory / "vectors" if directory else None, self._lexical.count)
        self._holes = self._vectors.holes()

    def flush(self) -> None:
        """Keep on disk what was applied, unless it is so little that a restart does it again in no time."""
        if self._lexical.uncommitted >= _COMMIT_CHUNKS:
            self._lexical.commit()

    def _settle(self) -> None:
        """Make all that was applied findable."""
        self._lexical.commit()
        if self._gazetteer.pending:
            self._links.add_found(self._gazetteer.matches(self._lexical.phrase))
            self._views.clear()

    def close(self) -> None:
        self._lexical.close()
        self._vectors.close()

    # -- feeding

    def apply(self, entries: Sequence[LogEntry]) -> None:
        """Take the next entries of the log. Raises StoreCorrupt when what is on disk comes from another log."""
        unembedded: dict[int, str] = {}
        for entry in entries:
            metadata = entry.document.metadata if entry.document else None
            title = metadata.title or "" if metadata else ""
            positions = {chunk.id: self._add_chunk(chunk, title, unembedded) for chunk in entry.chunks}
            previous = self._documents.close(entry.document_id, entry.version)
            if entry.document is not None:
                positions.update((int(self._chunk_ids.values[held]), held) for held in previous)
                held = [positions[chunk_id] for chunk_id in entry.document.chunk_ids]
                self._documents.add(entry.document, self._title_number(title), held)
            self.version = entry.version
        self._embed(unembedded)
        self._views.clear()

    def _add_chunk(self, chunk: StoredChunk, title: str, unembedded: dict[int, str]) -> int:
        """The chunk's position: its number in the order of the log."""
        position = len(self._chunk_ids)
        self._chunk_ids.append(chunk.id)
        self._links.add_mentions(position, chunk, self._entities)
        self._gazetteer.add_chunk(chunk.text)
        text = f"{title}\n{chunk.text}" if title else chunk.text
        print_ = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        if position >= len(self._prints):
            self._lexical.add(text, print_)
        elif print_ != self._prints[position]:
            raise StoreCorrupt(f"the index in {self._directory} was made from another store")
        if position >= len(self._holes) or self._holes[position]:
            unembedded[position] = text
        return position

    def _title_number(self, title: str) -> int:
        named = entity(title_name(title)) if title else None
        if named is None:
            return -1
        number = self._entities.number(named)
        self._gazetteer.add_title(number, named.label)
        return number

    def _embed(self, texts: dict[int, str]) -> None:
        if not texts:
            return
        vectors = self._embedder.embed(list(texts.values()))
        positions = list(texts)
        if positions[-1] - positions[0] + 1 == len(positions):
            self._vectors.put(positions[0], vectors)
        else:
            for position, vector in zip(positions, vectors, strict=True):
                self._vectors.put(position, vector)

    # -- asking

    def search(self, question: Question) -> Ranking:
        """Rank what the question's viewer may see, as of its version, under its filters."""
        self._settle()
        version = self.version if question.as_of is None else question.as_of
        view = self._view(version, question.viewer, question.filters)
        terms = list(dict.fromkeys(stems(question.text)))
        asked = list(named_in(question.text, self._entities, view))
        evidence = rank(
            view,
            self._lexical_scores(view, terms),
            self._dense_scores(view, question.text),
            [number for number, _ in asked],
        )
        chunks, documents = self._ranked(view, evidence, max(question.top_k, _MARGIN_DOCUMENTS))
        total = max(len(view.positions), 1)
        return Ranking(
            chunks=chunks,
            documents=documents[: question.top_k],
            margin=_margin(documents),
            entities=tuple(
                AskedEntity(
                    entity=lookup.named(self._entities, number),
                    written=written,
                    share=float(view.frequency[number]) / total,
                    titles=bool(view.titles[number]),
                )
                for number, written in asked
            ),
            terms=self._lexical.idf(terms),
            walked=evidence.walked,
            graph_version=version,
        )

    def idf(self, terms: Sequence[str]) -> dict[str, float]:
        """The inverse document frequency of each stem."""
        return self._lexical.idf(terms)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """A unit vector for each text, shape (n, 256)."""
        return self._embedder.embed(texts)

    def entities(self, text: str, limit: int, viewer: Viewer) -> list[EntitySummary]:
        """Entities that `viewer` may see and whose name contains `text`: those that begin with it first, then the most
        mentioned."""
        self._settle()
        return lookup.summaries(self._view(self.version, viewer, Filters()), self._entities, text, limit)

    def entity(self, entity_id: int, viewer: Viewer) -> EntityView | None:
        """An entity as `viewer` may see it, or None."""
        self._settle()
        view = self._view(self.version, viewer, Filters())
        number = self._entities.find(entity_id)
        if number is None or not view.frequency[number]:
            return None
        return lookup.entity_view(view, self._entities, self._documents, number)

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
            view = View(row, titles, self._links.edges(len(self._entities)))
        self._views[key] = view
        if len(self._views) > _VIEWS:
            self._views.popitem(last=False)
        return view

    def _lexical_scores(self, view: View, terms: Sequence[str]) -> npt.NDArray[np.float64]:
        result = np.zeros(len(view.row))
        positions, scores = self._lexical.search(terms, view.positions, _DEPTH)
        result[positions] = scores
        return result

    def _dense_scores(self, view: View, text: str) -> npt.NDArray[np.float64]:
        if not len(view.positions):
            return np.zeros(len(view.row))
        # On disk there may be more than has been fed yet. And one thread: BLAS's would spin for a product this small.
        rows = self._vectors.rows[: len(view.row)]
        scores: npt.NDArray[np.float32] = np.vecdot(rows, self._embedder.embed([text])[0])
        return np.where(view.row >= 0, scores, 0.0)

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
