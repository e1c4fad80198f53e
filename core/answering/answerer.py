"""Answers that a language model words from the evidence. It is trusted with nothing: each of its claims is checked, and
what does not stand is left out; where too little stands, the extractive answer is given, and says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import structlog

from core.analysis.stems import stems
from core.answering.brief import DECLINED, SYSTEM, Brief
from core.answering.claims import Checked, check, claims_of, stated
from core.answering.compose import abstention, source
from core.answering.evidence import Evidence
from core.answering.groundedness import answerable, validate
from core.completion import Completion, LanguageModel, Usage
from core.errors import ModelError, ModelUnavailable
from core.index import Question, Words
from core.views import Answer, Composition, SourcedClaim

MAX_TOKENS = 600
ANSWERED = "answered"
NOTHING = Usage(0, 0)
LEAST_KEPT = 0.5
"""The share of the model's text that must stand. What is left of less may mean something else."""
LEAST_SHARE = 0.7
"""Of the extractive answer's groundedness, and of how much of the question its sources hold: a better wording is not
worth more."""
LOW = "low_groundedness"
UNSPOILT = frozenset({"end_turn", "stop_sequence"})
"""Why a model stops that was not cut off or interfered with."""

REASONS = {
    "model_throttled": "The model's service asked for fewer requests.",
    "model_over_budget": "The token budget of the model is used up for the moment.",
    "model_unavailable": "The model's service did not answer, or not in time.",
    "model_access_denied": "The model's service refuses the hub's credentials.",
    "model_answer_invalid": "The model's answer could not be used.",
    "model_error": "The model's service refused the request.",
    "declined": "The model found no answer in the evidence.",
    "cut_off": "The model's answer was cut off.",
    "unsupported": "The evidence does not say what the model wrote.",
    "off_topic": "The model's answer speaks of something else.",
    LOW: "The model's answer is grounded too little.",
}
"""Why an extractive answer is given in the model's place. What a service says of itself is for the log: it may name
accounts and addresses."""

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(__name__)
R = TypeVar("R")


class WithWords(Protocol):
    """Does work that takes what is known of words, in the index's thread."""

    def __call__(self, work: Callable[[Words], R], /) -> Awaitable[R]: ...


class Composed(NamedTuple):
    """An answer, with what it cost. One that is not `lasting` may be another when it is asked for again."""

    answer: Answer
    outcome: str
    """`answered`, or the reason to fall back."""
    usage: Usage
    lasting: bool


class ModelAnswerer:
    """Asks `model` for at most `seconds`. `outcomes` counts: `answered`, and each reason to fall back."""

    def __init__(self, model: LanguageModel, *, seconds: float) -> None:
        self.model_id = model.model_id
        self.outcomes: Counter[str] = Counter()
        self._model = model
        self._seconds = seconds

    async def answer(
        self, question: Question, evidence: Evidence, extractive: Answer, with_words: WithWords
    ) -> Composed:
        """The model's answer, or the extractive one with the reason."""
        brief = Brief(question.text, evidence, question.top_k)
        try:
            completion = await self._model.complete(brief.text, SYSTEM, MAX_TOKENS, 0.0, within=self._seconds)
        except ModelError as error:
            log.warning("extractive answer in place of the model's", code=error.code, error=error.message)
            return self._composed(extractive, error.code, NOTHING, lasting=not isinstance(error, ModelUnavailable))
        judged = await with_words(lambda words: self._judged(question, evidence, brief, completion, words))
        if isinstance(judged, Answer):
            judged = _no_worse(judged, extractive, evidence)
        if isinstance(judged, str):
            return self._composed(extractive, judged, completion.usage, lasting=True)
        self.outcomes[ANSWERED] += 1
        return Composed(judged, ANSWERED, completion.usage, lasting=True)

    def _judged(
        self, question: Question, evidence: Evidence, brief: Brief, completion: Completion, words: Words
    ) -> Answer | str:
        """The answer that stands of a completion, or the code of why none does."""
        if completion.stop_reason not in UNSPOILT:
            return "cut_off"
        claims = claims_of(completion.text)
        if not claims or completion.text.strip().strip(".").upper().startswith(DECLINED):
            return "declined"
        checked = list(check(claims, brief.offered, words, evidence.language))
        kept = [claim for claim in checked if claim.sentences]
        if _length(kept) < LEAST_KEPT * _length(checked):
            return "unsupported"
        chosen = list(dict.fromkeys(sentence for claim in kept for sentence in claim.sentences))
        texts = [claim.text for claim in kept]
        titles = stated(chosen)[len(chosen) :]
        validation = validate(question.text, evidence, chosen, texts, words, titles=titles)
        least = question.filters.min_groundedness or 0.0
        answers = answerable(question.text, evidence, validation.components)
        if validation.groundedness_score < least or abstention(question, evidence.ranking, answers, chosen):
            return LOW
        dropped = tuple(claim.text for claim in checked if not claim.sentences)
        places = {sentence.place: position for position, sentence in enumerate(chosen)}
        how = Composition(
            by="model",
            model=self.model_id,
            claims=tuple(
                SourcedClaim(text=claim.text, sources=tuple(places[sentence.place] for sentence in claim.sentences))
                for claim in kept
            ),
        )
        return Answer(
            query=question.text,
            answer=" ".join(texts),
            abstained=False,
            sources=tuple(source(sentence, evidence) for sentence in chosen),
            entities=tuple(asked.entity for asked in evidence.ranking.entities),
            validation=validation.model_copy(update={"unsupported_claims": dropped}),
            composition=how,
            graph_version=evidence.ranking.graph_version,
        )

    def _composed(self, extractive: Answer, fallback: str, usage: Usage, *, lasting: bool) -> Composed:
        self.outcomes[fallback] += 1
        how = Composition(by="extraction", model=self.model_id, fallback=fallback, reason=REASONS[fallback])
        return Composed(extractive.model_copy(update={"composition": how}), fallback, usage, lasting)


def _no_worse(answer: Answer, extractive: Answer, evidence: Evidence) -> Answer | str:
    """The model's answer, or the code of what the extractive one has over it."""
    if _held(answer, evidence) < LEAST_SHARE * _held(extractive, evidence):
        return "off_topic"
    if answer.validation.groundedness_score < LEAST_SHARE * extractive.validation.groundedness_score:
        return LOW
    return answer


def _held(answer: Answer, evidence: Evidence) -> float:
    """The share of the question that an answer's sources hold, with the titles over them."""
    said = "\n".join(f"{each.title or ''}\n{each.quote}" for each in answer.sources)
    return evidence.share(frozenset(stems(said, evidence.language)))


def _length(claims: Sequence[Checked]) -> int:
    return sum(len(claim.text) for claim in claims)
