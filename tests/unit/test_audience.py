"""BM25 as one viewer's chunks make it, and as tantivy makes it of all."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
import tantivy

from core.analysis.languages import ENGLISH
from core.analysis.stems import analyzer, stems
from core.index.audience import Audience
from core.index.lexical import Field, Lexical, Sought
from core.index.postings import Postings
from core.index.reading import Reading
from core.index.recent import Recent

WORDS = [f"word{number}x" for number in range(60)]
TERMS = ["word1x", "word7x", "word59x", "absentx"]


def texts(count: int) -> list[str]:
    """Chunks of very different lengths, in which some words are common and some rare."""
    chosen = random.Random(7)
    weights = [1 / (1 + number) for number in range(len(WORDS))]
    return [" ".join(chosen.choices(WORDS, weights, k=chosen.choice([1, 5, 39, 41, 60, 300]))) for _ in range(count)]


def lexical(chunks: list[str], titles: list[str] | None = None) -> Lexical:
    index = Lexical(None)
    add(index, chunks[: len(chunks) // 2], titles)
    add(index, chunks[len(chunks) // 2 :], titles)
    return index


def add(index: Lexical, chunks: list[str], titles: list[str] | None = None) -> None:
    for text in chunks:
        title = titles[index.count] if titles else ""
        whole = f"{title}\n{text}" if title else text
        index.add(whole, title, index.count, ENGLISH, (len(stems(whole)), len(stems(title))))
    index.commit()


def audience(index: Lexical, visible: Sequence[int] | None = None) -> Audience:
    positions = None if visible is None else np.array(visible, np.int64)
    return Audience(index, Postings(index), index.count, positions)


def of(*stems: str) -> Reading:
    """A question that has these stems and nothing else."""
    return Reading(ENGLISH, stems, {}, {})


def scores(audience: Audience, reading: Reading, count: int, depth: int = 10_000) -> list[float]:
    found: list[float] = audience.scores(reading, np.ones(count, np.bool_), depth).tolist()
    return found


@pytest.fixture(scope="module")
def whole() -> Lexical:
    return lexical(texts(400))


def test_who_sees_everything_gets_the_scores_that_tantivy_gives() -> None:
    chunks = texts(400)
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("chunk", fast=True)
    builder.add_text_field("text", tokenizer_name="aime")
    schema = builder.build()
    index = tantivy.Index(schema)
    index.register_tokenizer("aime", analyzer(ENGLISH))
    writer = index.writer(15_000_000, 1)
    for number, text in enumerate(chunks):
        document = tantivy.Document()
        document.add_unsigned("chunk", number)
        document.add_text("text", text)
        writer.add_document(document)
    writer.commit()
    index.reload()
    query = tantivy.Query.boolean_query(
        [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", term)) for term in TERMS]
    )
    hits = index.searcher().search(query, len(chunks)).hits
    positions = index.searcher().fast_field_values("chunk", [address for _, address in hits])
    found = scores(audience(lexical(chunks)), of(*TERMS), len(chunks))
    assert len(hits) == np.count_nonzero(found) > 100
    assert [found[position] for position in positions] == pytest.approx([score for score, _ in hits], rel=1e-5)


def test_who_may_see_everything_gets_what_the_operator_gets(whole: Lexical) -> None:
    reading = Reading(ENGLISH, TERMS, {("word0x", "word1x"): 1}, {"word7x": (("word8x", 0.7), ("word3x", 0.6))})
    everyone, operator = audience(whole, range(whole.count)), audience(whole)
    assert scores(everyone, reading, whole.count) == scores(operator, reading, whole.count)
    assert everyone.idf(TERMS, ENGLISH) == operator.idf(TERMS, ENGLISH)


def test_who_sees_a_part_gets_the_scores_of_an_index_that_holds_that_part_alone() -> None:
    chunks, titles = texts(400), [f"word{number % 5}x of word{number % 7}x" for number in range(400)]
    whole, part = lexical(chunks, titles), lexical(chunks[::3], titles[::3])
    visible = range(0, 400, 3)
    reading = Reading(ENGLISH, TERMS, {("word0x", "word1x"): 1}, {"word7x": (("word8x", 0.7), ("word3x", 0.6))})
    of_whole, of_part = audience(whole, visible), audience(part, range(part.count))
    found = scores(of_whole, reading, whole.count)
    assert [found[at] for at in visible] == scores(of_part, reading, part.count)
    assert np.count_nonzero(found) == np.count_nonzero(found[::3]) > 50
    assert of_whole.idf(TERMS, ENGLISH) == of_part.idf(TERMS, ENGLISH)
    seeds, among = np.array([0, 3]), np.array(visible)
    assert of_whole.left(TERMS, ENGLISH, seeds, among).tolist() == (
        of_part.left(TERMS, ENGLISH, seeds // 3, np.arange(part.count)).tolist()
    )


def test_filters_leave_the_scores_of_what_they_allow_as_they_are(whole: Lexical) -> None:
    everyone = audience(whole)
    allowed = np.arange(whole.count) % 2 == 0
    unfiltered = np.array(scores(everyone, of(*TERMS), whole.count))
    assert everyone.scores(of(*TERMS), allowed, whole.count).tolist() == np.where(allowed, unfiltered, 0).tolist()


def test_only_the_best_are_found_and_of_equals_at_the_cut_none(whole: Lexical) -> None:
    assert 0 < np.count_nonzero(scores(audience(whole), of(*TERMS), whole.count, depth=10)) <= 10
    same = lexical(["alike"] * 20 + ["alike alike"])
    assert np.flatnonzero(scores(audience(same), of("alik"), 21, depth=5)).tolist() == [20]


def test_nothing_is_found_where_nothing_is_visible(whole: Lexical) -> None:
    assert not any(scores(audience(whole, []), of(*TERMS), whole.count))
    assert scores(audience(lexical([]), []), of(*TERMS), 0) == []


def test_what_is_left_to_find_are_the_stems_that_no_seed_holds() -> None:
    index = lexical(["alpha beta", "gamma", "alpha gamma", "delta"])
    among = np.array([1, 2, 3])
    left = audience(index).left(["alpha", "gamma", "absent"], ENGLISH, np.array([0]), among)
    alone = scores(audience(index), of("gamma"), 4)
    assert left.tolist() == pytest.approx([alone[1], alone[2], 0.0])
    assert alone[1] > alone[2] > 0


def test_words_in_a_row_count_on_top_of_the_words_where_they_stand_so_or_with_one_between() -> None:
    index = lexical(["road test now then", "road now test then", "test now then road", "else"])
    plain = scores(audience(index), of("road", "test"), 4)
    found = scores(audience(index), Reading(ENGLISH, ["road", "test"], {("road", "test"): 1}, {}), 4)
    more = [with_phrase - without for with_phrase, without in zip(found, plain, strict=True)]
    assert more[0] > 0
    assert more[1] > 0
    assert more[2:] == [0, 0]


# -- postings


def rows(postings: Postings, sought: Sought) -> tuple[list[int], list[int]]:
    found = postings.of(sought)
    return found.positions.tolist(), found.counts.tolist()


def test_postings_say_which_chunks_hold_a_word_and_how_often(whole: Lexical) -> None:
    for term in TERMS:
        counts = {at: count for at, text in enumerate(texts(400)) if (count := text.split().count(term))}
        assert rows(Postings(whole), Sought(term)) == (list(counts), list(counts.values()))


def test_postings_follow_the_growth_of_the_index() -> None:
    chunks = texts(400)
    index = lexical(chunks[:100])
    grown = Postings(index)
    sought = [*map(Sought, TERMS), Sought("word0x", Field.TEXT, "word1x", 1)]
    for first in range(100, 400, 100):
        for each in sought:
            grown.of(each)
        add(index, chunks[first : first + 100])
    for each in sought:
        assert rows(grown, each) == rows(Postings(lexical(chunks)), each)


def test_a_long_question_about_many_chunks_is_not_read_all_at_once() -> None:
    words = [f"word{number}x" for number in range(250)]
    index = Lexical(None)
    for at in range(2000):
        index.add(" ".join(words), "", at, ENGLISH, (len(words), 0))
    index.commit()
    postings = Postings(index)
    tracemalloc.start()
    postings.fetch(map(Sought, words))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20_000_000, "what all the words hold takes 30 MB while it is read"
    assert all(rows(postings, Sought(word)) == (list(range(2000)), [1] * 2000) for word in words)


def test_what_was_asked_for_last_is_kept_within_bounds() -> None:
    recent: Recent[str, int] = Recent(10)
    for number, key in enumerate("abc"):
        recent.put(key, number, 4)
    assert [recent.get(key) for key in "abc"] == [None, 1, 2]
    recent.get("b")
    recent.put("b", 7, 5)
    recent.put("d", 3, 1)
    assert [recent.get(key) for key in "bcd"] == [7, 2, 3]
    recent.put("large", 4, 100)
    assert [recent.get(key) for key in ["b", "c", "d", "large"]] == [None, None, None, 4]
