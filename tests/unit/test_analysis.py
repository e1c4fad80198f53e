"""Analysis: text, sentences, chunks, names."""

from __future__ import annotations

import pickle
import time
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.analysis import Source, analyse, text_of, title_name
from core.analysis.sentences import sentence_starts
from core.analysis.stems import UNSPACED, spaced, stem_count, stems, words_of
from core.entities import ChunkDraft, EntityType
from core.model import Document
from core.naming import entity, entity_id, normalise

PIECES = [
    "Dr. Ada Lovelace met J. K. Rowling. ",
    "\n",
    "\n\n",
    " ",
    "e.g. this",
    "The end!",
    "…",
    "東京都は。",
    "مرحبا. ",
    "x" * 700,
]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=400),
    st.lists(st.sampled_from([*PIECES, "One of many words is here. " * 40]), max_size=30).map("".join),
)


def parse(content: str, **metadata: object) -> Source:
    return Source.of(Document.parse({"document_id": "d", "content": content, "metadata": metadata}))


def sentences_of(draft: ChunkDraft) -> list[str]:
    return [draft.text[start:end] for start, end in draft.sentences]


def all_sentences(content: str) -> list[str]:
    return [sentence for draft in analyse(parse(content)) for sentence in sentences_of(draft)]


def names_in(content: str, **metadata: object) -> set[str]:
    return {mention.entity.label for draft in analyse(parse(content, **metadata)) for mention in draft.mentions}


@given(texts)
def test_chunks_partition_the_text_exactly(content: str) -> None:
    drafts = analyse(parse(content))
    assert "".join(draft.text for draft in drafts) == (content if content.strip() else "")


@given(texts)
def test_sentences_are_trimmed_in_order_and_leave_out_white_space_alone(content: str) -> None:
    for draft in analyse(parse(content)):
        assert draft.sentences
        places = [place for sentence in draft.sentences for place in sentence]
        assert places == sorted(places)
        assert all(sentence and sentence == sentence.strip() for sentence in sentences_of(draft))
        edges = [0, *places, len(draft.text)]
        assert not any(draft.text[start:end].strip() for start, end in list(pairwise(edges))[::2])


@given(texts)
def test_every_mention_lies_within_its_sentence(content: str) -> None:
    for draft in analyse(parse(content, title="Ada Lovelace", author="Someone", tags=["history"])):
        for mention in draft.mentions:
            if mention.sentence >= 0:
                start, end = draft.sentences[mention.sentence]
                assert start <= mention.start < mention.end <= end
                assert normalise(draft.text[mention.start : mention.end]) == mention.entity.name or (
                    mention.extractor == "title"
                )


@given(texts)
def test_analysis_is_a_function_of_its_source_alone_and_travels_between_processes(content: str) -> None:
    source = parse(content, title="A Title")
    assert analyse(pickle.loads(pickle.dumps(source))) == pickle.loads(pickle.dumps(analyse(source)))


@given(texts, st.sampled_from(EntityType))
def test_an_entity_is_a_function_of_its_type_and_label(label: str, type_: EntityType) -> None:
    named = entity(label, type_)
    assert named is None or entity(named.label, type_) == named


@given(texts, st.sampled_from(["en", "de", "ja", "xx"]))
def test_a_text_has_as_many_stems_as_its_words_have(content: str, language: str) -> None:
    # Marks, some symbols and what is newer than Python's Unicode: the lexical index takes a few of them for letters.
    content = "".join(char for char in content if unicodedata.category(char) not in {"Mn", "Mc", "So", "Cn"})
    for text in (content, f"the {'a' * 63} {'b' * 64} {'c' * 65} of_the Under_Score naïve İstanbul {content}"):
        counted = sum(stem_count(word, language) for word in words_of(text))
        assert counted == len(stems(text, language))


@given(texts)
def test_names_are_the_same_once_normalised_again(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", ["One.", "Two."]),
        ("Dr. Who met Mr. Smith. They left.", ["Dr. Who met Mr. Smith.", "They left."]),
        ("J. K. Rowling wrote it. It sold.", ["J. K. Rowling wrote it.", "It sold."]),
        ("It costs 3.50 today. Really?! Yes.", ["It costs 3.50 today.", "Really?!", "Yes."]),
        ("He said “Stop.” Then he left.", ["He said “Stop.”", "Then he left."]),
        ("Use tools, e.g. hammers. Fine.", ["Use tools, e.g. hammers.", "Fine."]),
        ("A heading\n\nA paragraph.", ["A heading", "A paragraph."]),
        ("# Heading\nText here.", ["# Heading", "Text here."]),
        ("- first\n- second", ["- first", "- second"]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
    ],
)
def test_sentences_end_where_a_reader_says_so(text: str, expected: list[str]) -> None:
    assert all_sentences(text) == expected


def test_prose_that_is_wrapped_is_not_cut_at_its_line_breaks() -> None:
    text = "This line of prose is as long as lines of wrapped prose are in files,\nand it goes on in the next one."
    assert all_sentences(text) == [text]


def test_chunks_are_runs_of_two_to_three_hundred_words_that_end_at_a_paragraph_where_they_can() -> None:
    paragraph = "Some words make a sentence of eight words. " * 10
    drafts = analyse(parse("\n\n".join([paragraph.strip()] * 20)))
    sizes = [len(draft.text.split()) for draft in drafts]
    assert all(200 <= size <= 300 for size in sizes[:-1])
    assert all(draft.text.endswith("\n\n") for draft in drafts[:-1])


def test_text_without_spaces_is_still_cut_into_sentences_and_chunks_of_bounded_length() -> None:
    drafts = analyse(parse("漢" * 10_000))
    assert max(len(draft.text) for draft in drafts) <= 2400
    assert max(end - start for draft in drafts for start, end in draft.sentences) <= 600


@pytest.mark.parametrize("blank", ["", " ", "\n\n\t "])
def test_a_blank_document_has_no_chunks(blank: str) -> None:
    assert analyse(parse(blank)) == ()


def test_a_known_chunk_comes_without_mentions_and_the_others_as_ever() -> None:
    source = parse("Ada Lovelace wrote notes. " * 200, title="Notes")
    whole = analyse(source)
    again = analyse(source, {whole[0].hash})
    assert again[0].mentions == ()
    assert (again[0].hash, again[0].text, again[0].sentences) == (whole[0].hash, whole[0].text, whole[0].sentences)
    assert again[1:] == tuple(draft if draft.hash != whole[0].hash else again[0] for draft in whole[1:])


def test_what_shapes_a_chunk_is_part_of_its_hash_and_who_may_see_it_is_not() -> None:
    plain = analyse(parse("Some text."))[0].hash
    assert analyse(parse("Some text.", access=["staff"], source="cms"))[0].hash == plain
    for shaping in (
        {"title": "T"},
        {"author": "A"},
        {"tags": ["t"]},
        {"url": "u"},
        {"doi": "10.1/x"},
        {"product": "P"},
    ):
        assert analyse(parse("Some text.", **shaping))[0].hash != plain


# -- names


def test_capitalised_spans_join_over_small_words_and_drop_what_only_opens_the_sentence() -> None:
    text = "The University of Chicago hired Ludwig van Beethoven in 1999. He met O'Neil's friend Jean-Luc Godard."
    assert names_in(text) == {"University of Chicago", "Ludwig van Beethoven", "O'Neil", "Jean-Luc Godard"}


def test_metadata_names_entities_of_their_own_types_on_every_chunk() -> None:
    drafts = analyse(
        parse(
            "word " * 700,
            title="The Book (2nd edition)",
            author=["Ann", "Bob"],
            tags=["x"],
            doi="10.1/a",
            url="http://u",
        )
    )
    assert len(drafts) > 1
    for draft in drafts:
        stated = {(m.extractor, m.entity.type, m.entity.label) for m in draft.mentions if m.sentence == -1}
        assert stated == {
            ("title", EntityType.NAME, "The Book"),
            ("author", EntityType.NAME, "Ann"),
            ("author", EntityType.NAME, "Bob"),
            ("tag", EntityType.TAG, "x"),
            ("doi", EntityType.DOI, "10.1/a"),
            ("url", EntityType.URL, "http://u"),
        }
        assert {(r.subject.label, r.predicate, r.object.label) for r in draft.relations} >= {
            ("The Book", "author", "Ann")
        }


def test_a_document_mentions_its_own_title_wherever_it_stands() -> None:
    (draft,) = analyse(parse("All about password reset. Password reset is easy.", title="Password reset"))
    assert [
        (m.sentence, draft.text[m.start : m.end]) for m in draft.mentions if m.sentence >= 0 and m.extractor == "title"
    ] == [
        (0, "password reset"),
        (1, "Password reset"),
    ]


def test_spellings_of_one_name_are_one_entity_and_types_keep_apart() -> None:
    assert normalise("  “Ada   LOVELACE”, ") == normalise("ada lovelace") == "ada lovelace"
    assert normalise("\uff26\uff55ll") == "full"
    assert entity_id(EntityType.NAME, "x") != entity_id(EntityType.TAG, "x")
    assert 0 <= entity_id(EntityType.NAME, "x") < 2**63
    assert entity("!!!") is None
    assert title_name("Mercury (planet)") == "Mercury"
    assert title_name("(2013)") == "(2013)"


# -- HTML


def html(source: str) -> str:
    return text_of(parse(source, content_type="text/html"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>One <b>bold</b> word.</p><p>Two.</p>", "One bold word.\n\nTwo."),
        ("a<br>b<div>c</div>d", "a\nb\n\nc\n\nd"),
        ("<script>var x = '<p>no</p>';</script>yes<style>p{}</style>", "yes"),
        ("<SCRIPT>no</SCRIPT >yes<!-- no --><!doctype html>", "yes"),
        ("<!-- open, and so all of it <p>no</p>", ""),
        ("AT&amp;T &lt;b&gt; &eacute;&#233;&nbsp;x", "AT&T <b> éé\xa0x"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<a title='x > y' href=\"z>\">link</a>", "link"),
        ("<p title=it's>text</p> isn't lost", "text\n\nisn't lost"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<ul><li>a<li>b</ul>", "a\n\nb"),
        ("&#0;&#xD800;x", "\ufffd\ufffdx"),
        ("<p>unclosed <b", "unclosed"),
    ],
)
def test_html_is_read_as_a_reader_sees_it(source: str, text: str) -> None:
    assert html(source) == text


@given(
    st.lists(
        st.sampled_from("<>/!-'\"=& abp\n") | st.sampled_from(["<p", "<script>", "</", "<!--", "-->", "&#x", "é"]),
        max_size=60,
    )
)
def test_any_html_gives_text_that_chunks_partition(pieces: list[str]) -> None:
    source = parse("".join(pieces), content_type="text/html")
    assert "".join(draft.text for draft in analyse(source)) == text_of(source)


HOSTILE = {
    "200,000 nested tags": "<div>" * 200_000 + "hi" + "</div>" * 200_000,
    "unclosed comments": "<!-" * 300_000,
    "unclosed quotes": "<a =\"<a ='" * 100_000,
    "unclosed tags": "<a " * 300_000,
    "raw text": "<script><title>" * 100_000,
    "white space": " \n" * 500_000,
    "dots": "." * 1_000_000,
    "one word": "x" * 1_000_000,
    "capitals": "A" * 1_000_000,
    "names": "Abc Def " * 100_000,
    "joining words": "A of the " * 100_000,
    "apostrophes": "A'" * 300_000,
    "brackets": "A. " * 300_000,
    "a long last line": "# H\n\n" + "Zeus of Acme " * 80_000,
}


def test_every_character_of_a_script_without_spaces_is_found_to_be_one() -> None:
    for point in range(0x80, 0x10000):
        run = chr(point) * 3
        assert (spaced(run) == run) != bool(UNSPACED.search(run)), f"U+{point:04X}"


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("content_type", ["text/html", "text/plain"])
def test_hostile_text_is_analysed_in_linear_time(kind: str, content_type: str) -> None:
    text = HOSTILE[kind]

    def seconds(part: str) -> float:
        source = parse(part, content_type=content_type, title=part[:50].strip() or "t")
        started = time.thread_time()
        analyse(source)
        return time.thread_time() - started

    # Eight times the text may take eight times as long, and half as much again for chance; quadratic would be 64. Both
    # are the best of three, taken in turn, since the speed of a shared machine swings.
    whole, eighth = zip(*((seconds(text), seconds(text[: len(text) // 8])) for _ in range(3)), strict=True)
    assert min(whole) <= 12 * max(min(eighth), 0.05)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("hostile", ["word " * 3_000_000, " " * 8_000_000 + "x", "x" + " " * 8_000_000])
def test_text_without_sentence_ends_is_cut_in_linear_time(hostile: str) -> None:
    assert sentence_starts(hostile)


@pytest.mark.timeout(5)
def test_a_title_of_spaces_and_brackets_is_read_in_linear_time() -> None:
    assert title_name("a" + " " * 30_000 + "b)") == "a b)"


def test_a_character_reference_of_thousands_of_digits_is_a_replacement_character() -> None:
    source = parse(f"<p>one &#{'9' * 5000}; two &#x{'f' * 5000} three &#233;", content_type="text/html")
    assert "".join(draft.text for draft in analyse(source)) == "one \ufffd two \ufffd three é"
