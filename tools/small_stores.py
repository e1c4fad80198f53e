"""Judged questions asked of small stores: where there are few documents, margins and the rarity of words differ.

Of a corpus many stores are made, each of the documents of some questions and others drawn at random. A store is asked
its own questions, and those of the store before, whose documents it lacks.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.abstention import Asked, ask
from core.evaluation import JudgedQuestion
from core.service import create_graph_service

_OWN = 0.7
"""The share of a store's documents that its own questions are about."""
_SEED = 7


async def ask_small_stores(
    questions: Sequence[JudgedQuestion], documents: Mapping[str, Mapping[str, Any]], size: int
) -> list[Asked]:
    """Each question of a store of about `size` documents that has its relevant ones, and of one that does not."""
    chance = random.Random(_SEED)
    groups = list(_groups(chance.sample(questions, len(questions)), round(_OWN * size)))
    asked: list[Asked] = []
    for group, before in zip(groups, [groups[-1], *groups[:-1]], strict=True):
        own = _relevant(group)
        absent = [question for question in before if not question.relevant & own]
        others = sorted(documents.keys() - own - _relevant(absent))
        held = sorted(own | set(chance.sample(others, min(max(size - len(own), 0), len(others)))))
        async with await create_graph_service("sqlite::memory:") as service:
            async for _ in service.process_documents([documents[id_] for id_ in held], origin="fit", actor="fit"):
                pass
            await service.catch_up()
            asked.extend([await ask(service, question, present=True) for question in group])
            asked.extend([await ask(service, question, present=False) for question in absent])
    return asked


def _groups(questions: Sequence[JudgedQuestion], most: int) -> Iterator[list[JudgedQuestion]]:
    """The questions in order, split so that each group has about `most` relevant documents."""
    group: list[JudgedQuestion] = []
    for question in questions:
        if group and len(_relevant([*group, question])) > most:
            yield group
            group = []
        group.append(question)
    yield group


def _relevant(questions: Sequence[JudgedQuestion]) -> set[str]:
    return {id_ for question in questions for id_ in question.relevant}
