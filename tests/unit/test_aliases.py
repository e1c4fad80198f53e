from __future__ import annotations

import pytest

from core.analysis import Source, analyse
from core.analysis.aliases import Alias, aliases
from core.entities import ChunkDraft
from core.model import Document

FILLER = "Nothing of note was said on that day. " * 60


def meanings(text: str, title: str = "", authors: tuple[str, ...] = ()) -> dict[str, str]:
    return {alias.short: alias.full for alias in aliases(text, title, authors)}


@pytest.mark.parametrize(
    ("text", "short", "full"),
    [
        ("The World Health Organization (WHO) met.", "WHO", "World Health Organization"),
        ("We use natural language processing (NLP).", "NLP", "natural language processing"),
        ("The Department of Defense (DoD) paid.", "DoD", "Department of Defense"),
        ("The University of East Anglia (UEA) is old.", "UEA", "University of East Anglia"),
        ("Many non-governmental organisations (NGOs) came.", "NGO", "non-governmental organisations"),
        ("He left in May (WHO knows why).", "WHO", None),
        ("Call Anna Berg (BA) today.", "BA", None),
        ("Acme Inc. was founded. Acme grew.", "Acme", "Acme Inc"),
        ("The Acme Widget, Ltd. was sold.", "Acme Widget", "Acme Widget Ltd"),
        ("He is limited. Acme grew.", "Acme", None),
        ("Dr. Ada Lovelace wrote.", "Lovelace", "Ada Lovelace"),
        ("Ada Lovelace (born 1815) wrote.", "Lovelace", "Ada Lovelace"),
        ("Ada King (10 December 1815 - 27 November 1852) wrote.", "King", "Ada King"),
        ("Toy Story (1995) is a film.", "Story", None),
        ("Dr. John Banks met. He saw the banks of the river.", "Banks", None),
        ("Dr. John Smith met Dr. Jane Smith.", "Smith", None),
        ("I live in New York. York is old.", "York", None),
    ],
)
def test_a_short_form_is_known_only_where_the_text_explains_it_beyond_doubt(
    text: str, short: str, full: str | None
) -> None:
    assert meanings(text).get(short) == full


def test_a_title_names_its_person_by_surname_only_where_the_text_is_about_a_person() -> None:
    assert meanings("She wrote. Lovelace met him.", "Ada Lovelace") == {"Lovelace": "Ada Lovelace"}
    assert meanings("It has 8 million people.", "New York") == {}
    assert meanings("It rained.", "Letters", ("Mary Somerville",)) == {"Somerville": "Mary Somerville"}


def chunks(text: str, **metadata: object) -> tuple[ChunkDraft, ...]:
    return analyse(Source.of(Document.parse({"document_id": "d", "content": text, "metadata": metadata})))


def named(chunk: ChunkDraft, kind: str) -> list[tuple[str, str]]:
    """(entity, as written) of the mentions of one kind."""
    return [(one.entity.name, chunk.text[one.start : one.end]) for one in chunk.mentions if one.extractor == kind]


def test_a_short_form_names_the_full_one_in_later_chunks_and_says_so() -> None:
    first, *_, last = chunks(f"The World Health Organization (WHO) met.\n\n{FILLER}\n\nThe WHO spoke. Who else?")
    assert named(last, "acronym") == [("world health organization", "WHO")]
    assert ("who", "short_for", "world health organization") in {
        (one.subject.name, one.predicate, one.object.name) for one in last.relations
    }
    [mention] = [one for one in last.mentions if one.extractor == "acronym"]
    start, end = last.sentences[mention.sentence]
    assert start <= mention.start < mention.end <= end
    assert named(first, "acronym") == [("world health organization", "WHO")]


def test_a_full_form_is_named_where_it_stands_even_if_no_run_of_capitals_is_it() -> None:
    [chunk] = chunks("We use natural language processing (NLP). It works.")
    assert ("natural language processing", "natural language processing") in named(chunk, "acronym")


def test_what_stands_before_the_explanation_is_left_alone() -> None:
    first, *_ = chunks(f"The WHO spoke.\n\n{FILLER}\n\nThe World Health Organization (WHO) met.")
    assert named(first, "acronym") == []


def test_a_company_and_its_short_form_name_each_other() -> None:
    [chunk] = chunks("Acme Inc. was founded in 1990. In 1999 Acme grew.")
    assert named(chunk, "company") == [("acme", "Acme"), ("acme inc", "Acme")]


def test_a_surname_names_the_person() -> None:
    [chunk] = chunks("Ada Lovelace (born 1815) wrote. In London, Lovelace met Babbage, and Mrs Lovelace sang.")
    assert named(chunk, "surname") == [("ada lovelace", "Lovelace"), ("ada lovelace", "Mrs Lovelace")]


def test_a_chunk_is_stored_anew_when_an_explanation_elsewhere_changes_what_it_names() -> None:
    before = chunks(f"The old hall was there still.\n\n{FILLER}\n\nThe WHO spoke.")
    after = chunks(f"The World Health Organization (WHO) met.\n\n{FILLER}\n\nThe WHO spoke.")
    assert before[-1].text == after[-1].text
    assert before[-1].hash != after[-1].hash
    unrelated = chunks(f"The new hall was there still.\n\n{FILLER}\n\nThe WHO spoke.")
    assert before[-1].hash == unrelated[-1].hash


@pytest.mark.parametrize("hostile", ["(", "Aa ", "Dr. Aa Bb ", "Aa (AB) ", "Aa Inc ", "A'", "Aa (born "])
def test_hostile_text_yields_few_aliases(hostile: str) -> None:
    assert len(aliases(hostile * 20_000, "", ())) <= 100


def test_an_alias_says_what_it_stands_for_of_which_kind_it_is_and_from_where_on() -> None:
    assert aliases("The World Health Organization (WHO) met.", "", ()) == [
        Alias("WHO", "World Health Organization", "acronym", 30)
    ]
