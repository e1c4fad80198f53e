"""What a language model found in a text, kept as data, and how it joins what analysis found there.

An extraction is no function of its text: a model asked twice says two things. So it is stored, once for each text, and
what stands in the graph is a function of the document and of the extractions of its texts. The model is believed only
where the text itself bears it out: a name counts where it stands in the text to the letter, and places are looked up
here.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from core.analysis.aliases import PREDICATE as SHORT_FOR
from core.analysis.names import occurrences
from core.entities import Mention, PackedChunk, Relation
from core.model import StoredDocument
from core.naming import MAX_NAME_CHARS, entity
from core.packing import (
    named,
    pack_mentions,
    pack_pairs,
    pack_relations,
    unpack_mentions,
    unpack_pairs,
    unpack_relations,
)
from core.store.base import RecordScope, Store

Drafted = tuple[PackedChunk, ...] | Exception
"""What analysis made of a document, or what went wrong with it."""

SCOPE: Final[RecordScope] = "extraction"
EXTRACTOR: Final = "model"
CONFIDENCE = 0.8
MOST_ENTITIES = 64
"""Of one text; as many relations."""
MOST_PLACES = 50
"""Of one entity in one text."""
STATED_PREDICATES = frozenset({"author", "product", "tag", "doi", "url", "title", "mentions", "has_chunk", SHORT_FOR})
"""What metadata and analysis state, and what a projection calls its own edges: no model may say it in their place."""
_PREDICATE = re.compile(r"[a-z][a-z0-9_]{1,47}")


class StatedRelation(NamedTuple):
    subject: str
    predicate: str
    object: str


class Extraction(BaseModel):
    """What one model found in one text: names as they stand there. `rejected` is why nothing of its answer was
    taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    entities: tuple[str, ...] = ()
    relations: tuple[StatedRelation, ...] = ()
    rejected: str | None = None

    @property
    def digest(self) -> bytes:
        return blake2b(self.model_dump_json().encode(), digest_size=32).digest()


def key_of(text: str) -> str:
    """Under which the extraction of a text is kept. It is the text's alone: whichever document holds it."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def standing(text: str, names: Iterable[str], relations: Iterable[Sequence[str]], model: str) -> Extraction:
    """Of what a model says, what the text bears out: names that stand in it, and relations between two of them."""
    found = list(islice((name for name in dict.fromkeys(names) if _stands(name, text)), MOST_ENTITIES))
    known = set(found)
    kept = (
        StatedRelation(subject, name, object_)
        for subject, predicate, object_ in relations
        if subject in known and object_ in known and subject != object_ and (name := _predicate(predicate))
    )
    return Extraction(model=model, entities=tuple(found), relations=tuple(islice(dict.fromkeys(kept), MOST_ENTITIES)))


def _stands(name: str, text: str) -> bool:
    return 2 <= len(name) <= MAX_NAME_CHARS and entity(name) is not None and next(_places(name, text), None) is not None


def _places(name: str, text: str) -> Iterator[tuple[int, int]]:
    """Where a name stands, to the letter and as whole words."""
    return ((start, end) for start, end in occurrences(name, text) if text[start:end] == name)


def _predicate(written: str) -> str | None:
    name = re.sub(r"[^a-z0-9]+", "_", written.strip().lower()).strip("_")
    return name if _PREDICATE.fullmatch(name) and name not in STATED_PREDICATES else None


def enriched(chunk: PackedChunk, extraction: Extraction) -> PackedChunk:
    """The chunk with what the extraction adds; itself where it adds nothing. Done again, it adds nothing."""
    sentences = unpack_pairs(chunk.sentences)
    mentions, relations = unpack_mentions(chunk.mentions), unpack_relations(chunk.relations)
    held = {(mention.entity.id, mention.start, mention.end) for mention in mentions}
    # Local analysis spells out the same names, maybe with a confidence of its own.
    found = _mentions(chunk.text, sentences, extraction.entities)
    further = [mention for mention in found if (mention.entity.id, mention.start, mention.end) not in held]
    related = {(relation.subject.id, relation.predicate, relation.object.id) for relation in relations}
    stated = _relations(chunk.text, sentences, extraction.relations)
    new = [each for each in stated if (each.subject.id, each.predicate, each.object.id) not in related]
    if not further and not new:
        return chunk
    together = (*mentions, *further)
    return PackedChunk(
        blake2b(chunk.hash, digest_size=16, key=extraction.digest).digest(),
        chunk.text,
        chunk.sentences,
        pack_mentions(together),
        pack_relations((*relations, *new)),
        named(together),
    )


def _mentions(text: str, sentences: Sequence[tuple[int, int]], names: Iterable[str]) -> Iterator[Mention]:
    starts = [start for start, _ in sentences]
    for name in names:
        one = entity(name)
        for start, end in islice(_places(name, text), MOST_PLACES):
            sentence = bisect_right(starts, start) - 1
            if one is not None and sentence >= 0 and end <= sentences[sentence][1]:
                yield Mention(one, sentence, start, end, EXTRACTOR, CONFIDENCE)


def _relations(
    text: str, sentences: Sequence[tuple[int, int]], relations: Iterable[StatedRelation]
) -> Iterator[Relation]:
    """Those that a sentence bears out by naming both."""
    within = [text[start:end] for start, end in sentences]
    for subject, predicate, object_ in relations:
        one, other = entity(subject), entity(object_)
        both = (n for n, said in enumerate(within) if _stands(subject, said) and _stands(object_, said))
        sentence = next(both, None)
        if one is not None and other is not None and one.id != other.id and sentence is not None:
            yield Relation(one, predicate, other, sentence)


class Enrichment:
    """Puts the extractions that a store holds into chunks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of_drafts(
        self, drafts: Mapping[str, Drafted], known: Mapping[str, frozenset[bytes]]
    ) -> dict[str, Drafted]:
        """Documents as analysed, with what was found in the texts of their new chunks. Those that are `known` come
        without what analysis found in them, and stay as stored."""
        new = {
            id_: [chunk for chunk in drafted if chunk.hash not in known.get(id_, ())]
            for id_, drafted in drafts.items()
            if not isinstance(drafted, Exception)
        }
        extractions = await self._extractions(chunk.text for chunks in new.values() for chunk in chunks)
        if not extractions:
            return dict(drafts)

        def put() -> dict[str, Drafted]:
            return {
                id_: drafted
                if isinstance(drafted, Exception)
                else tuple(
                    chunk if chunk.hash in known.get(id_, ()) else _with(chunk, extractions) for chunk in drafted
                )
                for id_, drafted in drafts.items()
            }

        return await asyncio.to_thread(put)

    async def of_stored(self, documents: Sequence[StoredDocument]) -> dict[str, Drafted]:
        """The chunks of stored documents with what was found in their texts since; documents that it adds nothing to
        are left out."""
        ids = {id_ for document in documents for id_ in document.chunk_ids}
        if not ids:
            return {}
        chunks, evidence = await self._store.chunks(ids), await self._store.evidence(ids)
        extractions = await self._extractions(chunk.text for chunk in chunks.values())

        def put() -> dict[str, Drafted]:
            result: dict[str, Drafted] = {}
            for document in documents:
                held = [
                    PackedChunk(
                        chunks[id_].hash,
                        chunks[id_].text,
                        pack_pairs(chunks[id_].sentences),
                        pack_mentions(evidence[id_][0]),
                        pack_relations(evidence[id_][1]),
                    )
                    for id_ in document.chunk_ids
                    if id_ in chunks and id_ in evidence
                ]
                if len(held) < len(document.chunk_ids):
                    continue  # it was replaced meanwhile: the commit would be refused
                now = tuple(_with(chunk, extractions) for chunk in held)
                if any(chunk.hash != before.hash for chunk, before in zip(now, held, strict=True)):
                    result[document.document_id] = now
            return result

        return await asyncio.to_thread(put) if extractions else {}

    async def _extractions(self, texts: Iterable[str]) -> dict[str, Extraction]:
        """Those that there are, by key."""
        keys = {key_of(text) for text in texts}
        stored = await self._store.records(SCOPE, keys) if keys else {}
        return {key: Extraction.model_validate_json(value) for key, value in stored.items()}


def _with(chunk: PackedChunk, extractions: Mapping[str, Extraction]) -> PackedChunk:
    extraction = extractions.get(key_of(chunk.text))
    return chunk if extraction is None else enriched(chunk, extraction)
