"""What is asked of the index, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from core.errors import InvalidQuery
from core.index.facets import Filters
from core.index.recency import asks_for_newest
from core.index.vectors import Vectors
from core.model import OPERATOR, Viewer, check_text
from core.views import Hit, NamedEntity
from core.wording import json_type

MAX_QUESTION_CHARS = 10_000
PASSAGES = 8
"""Chunks of a ranking that are read for sentences."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question, on whose behalf it is asked, and what it may look at. `as_of` None is now; `top_k` is how many
    documents are ranked, and the most that an answer quotes. No score depends on `top_k`.

    Raises InvalidQuery for a text that cannot be asked."""

    text: str
    filters: Filters = field(default_factory=Filters)
    viewer: Viewer = OPERATOR
    as_of: int | None = None
    top_k: int = 5
    newest: bool | None = None
    """Prefer the newest of equally relevant documents; None does if the question asks for it."""

    @property
    def wants_newest(self) -> bool:
        """Whether the newest of equally relevant documents come first."""
        return asks_for_newest(self.text) if self.newest is None else self.newest

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InvalidQuery(f"must be a string, not {json_type(self.text)}", field="query")
        if len(self.text) > MAX_QUESTION_CHARS:
            size = f"{len(self.text):,} characters"
            raise InvalidQuery(f"is {size} long; the most is {MAX_QUESTION_CHARS:,}", field="query")
        if not self.text.strip():
            raise InvalidQuery("must not be empty", field="query")
        try:
            check_text(self.text)
        except ValueError as error:
            raise InvalidQuery(str(error), field="query") from None


@dataclass(frozen=True, slots=True)
class RankedChunk:
    """A chunk found for a question, with what spoke for it; each feature is in 0..1."""

    chunk_id: int
    document_id: str
    score: float
    lexical: float
    """Its BM25 score as a share of the best one's."""
    dense: float
    """Cosine to the question, not below 0."""
    walk: float
    """How much of the entity walk ends here, as a share of the most visited chunk's."""
    titled: bool
    """Its document's title is an entity of the question."""


@dataclass(frozen=True, slots=True)
class AskedEntity:
    """An entity that the question names. `share` is the share of visible chunks that mention it."""

    entity: NamedEntity
    written: str
    """As the question writes it."""
    share: float
    titles: bool
    """A visible document has this title."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer of the index: all of it visible to the viewer at `graph_version`."""

    chunks: tuple[RankedChunk, ...]
    """The `PASSAGES` best chunks, best first: evidence for an answer."""
    documents: tuple[Hit, ...]
    """The `top_k` best documents, each with its best chunk."""
    margin: float
    """How far the best document stands out from the fifth, as a share of its score; whatever `top_k`."""
    entities: tuple[AskedEntity, ...]
    terms: Mapping[str, float]
    """The question's stems with their inverse document frequency; without those that ask for the newest, where it is
    wanted."""
    language: str
    """The code of the language that the stems are of: that of the chunk with the most of the question's words."""
    walked: bool
    """Whether the entity walk took part."""
    graph_version: int


@dataclass(frozen=True, slots=True)
class Words:
    """What is known of words to the viewer of a ranking, in its language."""

    idf: Callable[[Sequence[str]], Mapping[str, float]]
    """The inverse document frequency of each stem, among what the viewer may see."""
    embed: Callable[[Sequence[str]], Vectors]
    """A unit vector for each text, or zeros: shape (n, 256)."""


@dataclass(frozen=True, slots=True)
class Step:
    """Two entities, and some chunks that name both."""

    first: NamedEntity
    second: NamedEntity
    chunk_ids: tuple[int, ...]
