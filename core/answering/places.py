"""Where chunks name entities, quoted: for entity pages, and for the steps of a path."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from core.entities import Mention, Relation
from core.index import Step
from core.model import StoredChunk, StoredDocument
from core.views import EntityMention, EntityRelation, Named, NamedEntity, PathStep

MAX_MENTIONS = 50
MAX_RELATIONS = 200
_WORD = re.compile(r"\w+")

Evidence = Mapping[int, tuple[tuple[Mention, ...], tuple[Relation, ...]]]
"""The mentions and relations of chunks, by chunk id."""


@dataclass(frozen=True, slots=True)
class _Spot:
    """One place in a chunk that names an entity; `sentence` -1 where its document's metadata does, in the field
    `named_in`."""

    sentence: int
    start: int
    end: int
    named_in: Named


def mentions_of(entity: NamedEntity, chunks: Sequence[StoredChunk], evidence: Evidence) -> list[EntityMention]:
    """The first places in the text of these chunks that name the entity, each with its sentence."""
    found: list[EntityMention] = []
    for chunk in chunks:
        for mention in evidence[chunk.id][0]:
            if mention.sentence >= 0 and mention.entity.id == int(entity.id, 16):
                start, end = chunk.sentences[mention.sentence]
                found.append(
                    EntityMention(
                        document_id=chunk.document_id,
                        chunk_id=chunk.id,
                        ordinal=chunk.ordinal,
                        start=chunk.start + mention.start,
                        end=chunk.start + mention.end,
                        sentence=chunk.text[start:end],
                        extractor=mention.extractor,
                    )
                )
                if len(found) == MAX_MENTIONS:
                    return found
    return found


def relations_of(
    entity: NamedEntity, chunks: Sequence[StoredChunk], evidence: Evidence, named: Mapping[int, NamedEntity]
) -> list[EntityRelation]:
    """What these chunks state of the entity, the most stated first. Entities that `named` lacks are left out."""
    documents: dict[tuple[int, str, int], set[str]] = {}
    number = int(entity.id, 16)
    for chunk in chunks:
        for relation in evidence[chunk.id][1]:
            if number in (relation.subject.id, relation.object.id):
                key = (relation.subject.id, relation.predicate, relation.object.id)
                documents.setdefault(key, set()).add(chunk.document_id)
    ordered = sorted(documents, key=lambda key: (-len(documents[key]), key[1], key[0], key[2]))
    return [
        EntityRelation(subject=named[subject], predicate=predicate, object=named[object_], documents=len(stated))
        for subject, predicate, object_ in ordered[:MAX_RELATIONS]
        if (stated := documents[subject, predicate, object_]) and subject in named and object_ in named
    ]


def quoted(
    step: Step, chunks: Mapping[int, StoredChunk], evidence: Evidence, documents: Mapping[str, StoredDocument]
) -> PathStep | None:
    """The step with the best quotation that its chunks have: both named in the text rather than by metadata, in one
    sentence or close by, else the first. None where none of its chunks is there any more."""
    best: tuple[tuple[int, int, int], StoredChunk, _Spot, _Spot] | None = None
    for place, chunk_id in enumerate(step.chunk_ids):
        chunk = chunks.get(chunk_id)
        if chunk is None or chunk.document_id not in documents:
            continue
        for first in _spots(step.first, chunk, evidence[chunk_id][0]):
            for second in _spots(step.second, chunk, evidence[chunk_id][0]):
                unseen = (first.sentence < 0) + (second.sentence < 0)
                far = 0 if unseen else abs(first.sentence - second.sentence)
                if best is None or (unseen, far, place) < best[0]:
                    best = ((unseen, far, place), chunk, first, second)
    if best is None:
        return None
    _, chunk, first, second = best
    start, end = _around(chunk, [spot.sentence for spot in (first, second) if spot.sentence >= 0])
    return PathStep(
        first=step.first,
        first_in=first.named_in,
        second=step.second,
        second_in=second.named_in,
        document_id=chunk.document_id,
        title=documents[chunk.document_id].metadata.title,
        chunk_id=chunk.id,
        ordinal=chunk.ordinal,
        start=chunk.start + start,
        end=chunk.start + end,
        quote=chunk.text[start:end],
    )


def _around(chunk: StoredChunk, sentences: Sequence[int]) -> tuple[int, int]:
    """Where the sentences begin and end, or the first of the chunk if there are none."""
    if not sentences:
        return chunk.sentences[0] if chunk.sentences else (0, len(chunk.text))
    return chunk.sentences[min(sentences)][0], chunk.sentences[max(sentences)][1]


def _spots(entity: NamedEntity, chunk: StoredChunk, mentions: Sequence[Mention]) -> list[_Spot]:
    number = int(entity.id, 16)
    own = [mention for mention in mentions if mention.entity.id == number]
    in_text = [_Spot(one.sentence, one.start, one.end, "text") for one in own if one.sentence >= 0]
    if in_text:
        return in_text
    stated = [_Spot(-1, -1, -1, field) for one in own for field in get_args(Named) if one.extractor == field]
    return stated[:1] or _matched(entity.name, chunk)


def _matched(name: str, chunk: StoredChunk) -> list[_Spot]:
    """A title found in the text is no stored mention: it stands where its words do."""
    words = r"\W+".join(map(re.escape, _WORD.findall(name)))
    begins = [start for start, _ in chunk.sentences]
    found = []
    for match in re.finditer(rf"(?<!\w){words}(?!\w)", chunk.text, re.IGNORECASE) if words else ():
        sentence = bisect_right(begins, match.start()) - 1
        if sentence >= 0 and match.end() <= chunk.sentences[sentence][1]:
            found.append(_Spot(sentence, match.start(), match.end(), "text"))
    return found
