from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.entities import EntityType
from core.errors import NotFound
from core.index import Index, Step
from core.model import EVERYONE, OPERATOR, Viewer
from core.naming import entity_id
from tests.unit.graph_log import GraphLog

PEOPLE = ["Ada Lovelace", "Charles Babbage", "Mary Somerville", "John Herschel", "Luigi Menabrea", "George Boole"]


@pytest.fixture
def log() -> GraphLog:
    return GraphLog()


def number(name: str) -> int:
    return entity_id(EntityType.NAME, name.lower())


def indexed(log: GraphLog) -> Index:
    index = Index(None)
    index.open(0)
    index.apply(log.entries)
    return index


def paths(
    log: GraphLog, first: str, last: str, viewer: Viewer = OPERATOR, max_length: int = 3, limit: int = 10
) -> list[tuple[Step, ...]]:
    return indexed(log).paths(number(first), number(last), viewer, max_length, limit)


def names(chain: tuple[Step, ...]) -> list[str]:
    return [chain[0].first.name, *(step.second.name for step in chain)]


def test_a_path_goes_over_chunks_that_name_both_ends_of_each_step(log: GraphLog) -> None:
    log.put("a", "Ada Lovelace knew Charles Babbage.")
    log.put("b", "Charles Babbage knew John Herschel.")
    [chain] = paths(log, "Ada Lovelace", "John Herschel")
    assert names(chain) == ["Ada Lovelace", "Charles Babbage", "John Herschel"]
    assert [[log.chunks[id_].document_id for id_ in step.chunk_ids] for step in chain] == [["a"], ["b"]]


def test_only_the_shortest_paths_are_given_those_through_the_rarer_entities_first(log: GraphLog) -> None:
    log.put("a", "Ada Lovelace knew Charles Babbage and Mary Somerville.")
    log.put("b", "Charles Babbage knew John Herschel.")
    log.put("c", "Mary Somerville knew John Herschel. Ada Lovelace was no friend of Luigi Menabrea.")
    log.put("d", "Mary Somerville wrote.")
    found = paths(log, "Ada Lovelace", "John Herschel")
    assert [names(chain) for chain in found] == [["Ada Lovelace", "John Herschel"]]
    log.put("c", "Mary Somerville knew John Herschel.")
    found = paths(log, "Ada Lovelace", "John Herschel")
    assert [names(chain)[1] for chain in found] == ["Charles Babbage", "Mary Somerville"]
    assert [names(chain)[1] for chain in paths(log, "Ada Lovelace", "John Herschel", limit=1)] == ["Charles Babbage"]


def test_a_path_longer_than_asked_for_is_none(log: GraphLog) -> None:
    for one, other in pairwise(PEOPLE):
        log.put(one, f"{one} knew {other}.")
    assert paths(log, PEOPLE[0], PEOPLE[4], max_length=3) == []
    assert len(paths(log, PEOPLE[0], PEOPLE[4], max_length=4)[0]) == 4


def test_a_path_does_not_lead_through_what_is_named_everywhere_but_may_end_there(log: GraphLog) -> None:
    for place in range(30):
        log.put(f"c{place}", f"Charles Babbage, note {place}.")
    log.put("a", "Ada Lovelace knew Charles Babbage.")
    log.put("b", "Charles Babbage knew John Herschel.")
    assert paths(log, "Ada Lovelace", "John Herschel") == []
    assert names(paths(log, "Ada Lovelace", "Charles Babbage")[0]) == ["Ada Lovelace", "Charles Babbage"]


def test_a_hidden_document_connects_nothing(log: GraphLog) -> None:
    log.put("a", "Ada Lovelace knew Charles Babbage.")
    log.put("b", "Charles Babbage knew John Herschel.", {"access": ["staff"]})
    log.put("c", "John Herschel looked at stars.")
    assert paths(log, "Ada Lovelace", "John Herschel", EVERYONE) == []
    assert len(paths(log, "Ada Lovelace", "John Herschel", Viewer(frozenset({"staff"})))) == 1
    log.delete("c")
    with pytest.raises(NotFound, match=f"{number('John Herschel'):016x}"):
        paths(log, "Ada Lovelace", "John Herschel", EVERYONE)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=14))
def test_paths_are_as_short_as_a_search_breadth_first_finds(pairs: list[tuple[int, int]]) -> None:
    log = GraphLog()
    beside: dict[int, set[int]] = {each: set() for each in range(6)}
    for place, (one, other) in enumerate(pairs):
        log.put(f"d{place}", f"{PEOPLE[one]} knew {PEOPLE[other]}.")
        beside[one].add(other)
        beside[other].add(one)
    first, last = pairs[0][0], pairs[-1][1]
    if first == last:
        return
    reached, steps = {first}, 0
    while last not in reached and steps < 5:
        reached |= {near for each in reached for near in beside[each]}
        steps += 1
    found = paths(log, PEOPLE[first], PEOPLE[last], max_length=5, limit=50)
    assert {len(chain) for chain in found} == ({steps} if last in reached else set())
    for chain in found:
        assert len(set(names(chain))) == len(chain) + 1
        for step in chain:
            for id_ in step.chunk_ids:
                assert step.first.name in log.chunks[id_].text
                assert step.second.name in log.chunks[id_].text
