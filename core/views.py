"""What the graph gives to those who ask it: answers with their sources, the pages of entities, and paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.entities import EntityType

# ---------------------------------------------------------------- answers


class Source(BaseModel):
    """One verbatim quotation: `quote` is exactly the document's text from `start` to `end` (characters)."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    chunk_id: int
    ordinal: int
    sentence: int
    start: int
    end: int
    quote: str
    title: str | None = None
    url: str | None = None
    source: str | None = None
    score: float


class Validation(BaseModel):
    """How far the evidence supports the answer and covers the question: a calibrated probability, and the components
    that it is made of, each 0 to 1."""

    model_config = ConfigDict(frozen=True)

    groundedness_score: float = Field(ge=0, le=1)
    components: dict[str, float] = Field(default_factory=dict)
    unsupported_claims: tuple[str, ...] = ()
    """Of an answer that a model worded: what it wrote and the evidence does not say. It is no part of the answer."""
    polarity: Literal["same", "opposite"] | None = None
    """Whether the question and the first quotation are negated alike: a hint of contradiction, no part of the score."""
    calibration: str
    """The id of the coefficients that made the score."""


class SourcedClaim(BaseModel):
    """A sentence of an answer that a language model worded, and the positions in `sources` of what it rests on."""

    model_config = ConfigDict(frozen=True)

    text: str
    sources: tuple[int, ...]


class Composition(BaseModel):
    """How an answer was worded where a language model is configured. Where `by` is `extraction`, the answer is what it
    would be without the model: `fallback` is a stable code of why, `reason` says it."""

    model_config = ConfigDict(frozen=True)

    by: Literal["model", "extraction"]
    model: str
    fallback: str | None = None
    reason: str | None = None
    claims: tuple[SourcedClaim, ...] = ()


class NamedEntity(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    type: EntityType
    name: str


class Answer(BaseModel):
    """What `query` returns. `answer` None is an abstention: `reason` says why, `sources` are the nearest."""

    model_config = ConfigDict(frozen=True)

    query: str
    answer: str | None
    abstained: bool
    reason: str | None = None
    sources: tuple[Source, ...] = ()
    entities: tuple[NamedEntity, ...] = ()
    validation: Validation
    composition: Composition | None = None
    """None where no language model was asked."""
    graph_version: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A ranked document: its best chunk and that chunk's score."""

    document_id: str
    chunk_id: int
    score: float


# ---------------------------------------------------------------- the graph, to look at


class EntitySummary(NamedEntity):
    """An entity with the number of visible documents and chunks that name it."""

    documents: int
    chunks: int


class EntityDocument(BaseModel):
    """A document that names an entity, with the number of its chunks that do."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    title: str | None
    chunks: int


class Neighbour(NamedEntity):
    """An entity named beside another, with the number of visible chunks that name both."""

    chunks: int


class EntityMention(BaseModel):
    """One place that names an entity. `sentence` is the sentence around it, verbatim, and `start` and `end` are where
    the name itself stands in the document's text (characters)."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    chunk_id: int
    ordinal: int
    start: int
    end: int
    sentence: str
    extractor: str


class EntityRelation(BaseModel):
    """What documents state of an entity, or of another to which it is the object; `documents` is how many do."""

    model_config = ConfigDict(frozen=True)

    subject: NamedEntity
    predicate: str
    object: NamedEntity
    documents: int


class EntityView(EntitySummary):
    """An entity, where it is named and what beside: the most frequent first. `mentions` are the first places, and
    `relations` what those documents state."""

    named_in: tuple[EntityDocument, ...]
    neighbours: tuple[Neighbour, ...]
    mentions: tuple[EntityMention, ...] = ()
    relations: tuple[EntityRelation, ...] = ()


Named = Literal["text", "title", "author", "product", "tag", "doi", "url"]
"""Where a chunk names an entity: in its text, or in this field of its document's metadata."""


class PathStep(BaseModel):
    """Two entities that one chunk names. `quote` is the document's text from `start` to `end` (characters): whole
    sentences, from the one that names the first to the one that names the second. Where the metadata alone names one of
    them, it is a sentence of the other; where it names both, the chunk's first."""

    model_config = ConfigDict(frozen=True)

    first: NamedEntity
    first_in: Named
    second: NamedEntity
    second_in: Named
    document_id: str
    title: str | None
    chunk_id: int
    ordinal: int
    start: int
    end: int
    quote: str


class Paths(BaseModel):
    """Chains between two entities, all of the same, shortest length; none where there is no chain that short."""

    model_config = ConfigDict(frozen=True)

    paths: tuple[tuple[PathStep, ...], ...]
    graph_version: int
