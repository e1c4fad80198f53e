"""The search index: follows the log, answers with rankings."""

from core.index.facets import Filters
from core.index.index import Index
from core.index.question import PASSAGES, AskedEntity, Question, RankedChunk, Ranking, Step, Words

__all__ = ["PASSAGES", "AskedEntity", "Filters", "Index", "Question", "RankedChunk", "Ranking", "Step", "Words"]
