"""How a question's documents are ranked: by titles, neighbouring words, like words, and by following titles."""

from __future__ import annotations

from core.answering.filters import parse_filters
from core.index import Index, Question, Ranking
from core.model import EVERYONE, OPERATOR, Viewer
from tests.unit.graph_log import GraphLog

FILM = "The Silent Sea is a film directed by Maria Novak."


def asked(log: GraphLog, text: str, viewer: Viewer = OPERATOR, top_k: int = 10) -> Ranking:
    index = Index(None)
    index.open(0)
    index.apply(log.entries)
    return index.search(Question(text, parse_filters({}), viewer, top_k=top_k))


def ids(ranking: Ranking) -> list[str]:
    return [hit.document_id for hit in ranking.documents]


def with_places() -> GraphLog:
    """A log with thirty documents that share words with questions about birth, and lead nowhere."""
    log = GraphLog()
    for number in range(30):
        log.put(f"x{number}", f"A place number {number} where someone was born.", {"title": f"Place {number}"})
    return log


# -- words


def test_a_word_in_the_title_counts_more_than_the_same_word_in_the_text() -> None:
    log = GraphLog()
    log.put("about", "Fill in the form and send it to the office.", {"title": "Parking permits"})
    log.put("aside", "Fill in the permits form, and send parking to it.", {"title": "Office hours"})
    log.put("other", "The weather is fine.", {"title": "Weather"})
    assert ids(asked(log, "parking permits form"))[:2] == ["about", "aside"]


def test_words_that_stand_together_in_the_question_count_more_where_they_stand_together() -> None:
    log = GraphLog()
    log.put("apart", "A test of the road was made before the new signs on that long old lane to the mill had a driver.")
    log.put(
        "together", "A driver of the mill was made before the road test on that long old lane to the new had signs."
    )
    assert ids(asked(log, "road test")) == ["together", "apart"]


def test_a_word_is_found_by_one_that_is_like_it_but_for_less_than_by_itself() -> None:
    log = GraphLog()
    log.put("itself", "The tumor was described at length.")
    log.put("like", "The cancer was described at length.")
    log.put("unlike", "The bridge was described at length.")
    ranking = asked(log, "tumor")
    assert ids(ranking)[:2] == ["itself", "like"]
    lexical = {chunk.document_id: chunk.lexical for chunk in ranking.chunks}
    assert 0 < lexical["like"] < lexical["itself"]
    assert lexical.get("unlike", 0.0) == 0


# -- following titles


def test_a_bridge_is_crossed_from_the_title_that_is_named() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("director", "She was born in Brno and studied there.", {"title": "Maria Novak"})
    ranking = asked(log, "Where was the director of The Silent Sea born?")
    assert ids(ranking)[:2] == ["film", "director"]
    assert ranking.walked


def test_a_bridge_is_crossed_though_no_title_is_named() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("director", "Brno was home to her.", {"title": "Maria Novak"})
    ranking = asked(log, "In what town did whoever directed that silent film live?")
    assert ids(ranking)[:2] == ["film", "director"]
    assert not ranking.walked


def test_two_bridges_are_crossed_one_after_the_other() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("director", "She married Karel Dvorak in Brno.", {"title": "Maria Novak"})
    log.put("husband", "A painter and teacher of drawing.", {"title": "Karel Dvorak"})
    assert set(ids(asked(log, "What was the work of the husband of the director of The Silent Sea?"))[:3]) == {
        "film",
        "director",
        "husband",
    }


def test_of_two_titles_that_are_mentioned_the_one_that_answers_comes_first() -> None:
    log = with_places()
    log.put("film", "The Silent Sea is a film by Maria Novak with Karel Dvorak.", {"title": "The Silent Sea"})
    log.put("one", "A song writer since childhood.", {"title": "Maria Novak"})
    log.put("other", "His mother was a pilot.", {"title": "Karel Dvorak"})
    ranked = ids(asked(log, "Whose mother flew, of those in The Silent Sea? A pilot?"))
    assert ranked.index("other") < ranked.index("one")


def test_a_comparison_finds_both_sides_and_what_each_leads_to() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("play", "Green Fields is a play written by Karel Dvorak.", {"title": "Green Fields"})
    log.put("director", "She was born in 1901.", {"title": "Maria Novak"})
    log.put("writer", "He was born in 1911.", {"title": "Karel Dvorak"})
    found = ids(asked(log, "Who was born first, the director of The Silent Sea or the writer of Green Fields?"))
    assert set(found[:4]) == {"film", "play", "director", "writer"}


def test_what_is_led_to_never_comes_before_what_leads_there() -> None:
    log = with_places()
    log.put("answer", "Apply for a parking permit online. See also Office Hours.", {"title": "Permits"})
    log.put("linked", "Open on weekdays.", {"title": "Office Hours"})
    assert ids(asked(log, "apply for a parking permit"))[:2] == ["answer", "linked"]


def test_a_question_about_one_document_is_ranked_alike_with_and_without_titles_elsewhere() -> None:
    plain, titled = GraphLog(), GraphLog()
    texts = ["Reset the password in the settings.", "Change colours in the settings.", "Call us about a password."]
    for log, title in ((plain, {}), (titled, {"title": "Unrelated Name"})):
        for number, text in enumerate(texts):
            log.put(f"d{number}", text)
        log.put("bystander", "The weather is fine.", title)
    assert ids(asked(plain, "reset my password")) == ids(asked(titled, "reset my password"))


def test_a_hidden_document_leads_nowhere_and_is_not_led_to() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("director", "She was born in Brno.", {"title": "Maria Novak", "access": ["board"]})
    log.put("husband", "A painter.", {"title": "Karel Dvorak"})
    question = "Where was the director of The Silent Sea born?"
    before = {chunk.document_id: chunk.walk for chunk in asked(log, question, EVERYONE).chunks}
    log.put("director", "She married Karel Dvorak.", {"title": "Maria Novak", "access": ["board"]})
    ranking = asked(log, question, EVERYONE)
    assert "director" not in ids(ranking)
    assert {chunk.document_id: chunk.walk for chunk in ranking.chunks} == before


def test_scores_do_not_depend_on_the_order_in_which_documents_came() -> None:
    documents = {
        "film": (FILM, "The Silent Sea"),
        "director": ("She married Karel Dvorak in Brno.", "Maria Novak"),
        "husband": ("A painter and teacher of drawing.", "Karel Dvorak"),
        "other": ("A sea is silent, and a director directs.", "Seas"),
    }
    scores = []
    for order in (list(documents), list(reversed(documents))):
        log = GraphLog()
        for name in order:
            text, title = documents[name]
            log.put(name, text, {"title": title})
        hits = asked(log, "the painter whom the director of The Silent Sea married").documents
        scores.append({hit.document_id: round(hit.score, 9) for hit in hits})
    assert scores[0] == scores[1]


def test_a_very_long_question_is_ranked() -> None:
    log = with_places()
    log.put("film", FILM, {"title": "The Silent Sea"})
    log.put("director", "She was born in Brno.", {"title": "Maria Novak"})
    filler = " ".join(f"word{number}" for number in range(900))
    assert ids(asked(log, f"{filler} the director of The Silent Sea"))[0] == "film"
