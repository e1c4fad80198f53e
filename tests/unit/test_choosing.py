"""Which sentences answer: under headings, along hops, and prose rather than layout."""

from __future__ import annotations

import pytest

from core.answering.compose import extract
from core.answering.evidence import Evidence
from core.index import Index, Question
from core.views import Source
from tests.unit.graph_log import GraphLog

MANUAL = """# Mowers

Mowers are kept in the shed. The shed is locked at night.

## Changing the blade

Unplug the machine first. Then loosen the bolt with a spanner.

```
blade --change
```

## Cleaning

Cleaning takes these:

- a soft brush and warm water
- a dry cloth
"""


def quoted(log: GraphLog, text: str) -> list[Source]:
    index = Index(None)
    index.open(0)
    index.apply(log.entries)
    question = Question(text)
    ranking = index.search(question)
    evidence = Evidence(ranking, log.chunks, log.documents)
    answer = extract(question, evidence, index.words(question.viewer, ranking))
    return list(answer.sources)


def manual() -> GraphLog:
    log = GraphLog()
    log.put("manual", MANUAL, {"title": "Mowers", "content_type": "text/markdown"})
    log.put("other", "Blades of grass grow in spring. Cleaning is done in autumn.", {"title": "Garden"})
    return log


def test_the_first_sentence_under_the_heading_that_says_what_is_asked_answers() -> None:
    sources = quoted(manual(), "How is changing the blade done?")
    assert sources[0].quote == "Unplug the machine first."
    assert not any("```" in source.quote for source in sources)


def test_a_sentence_that_opens_a_list_brings_the_list_along() -> None:
    quotes = [source.quote for source in quoted(manual(), "What about cleaning?")]
    assert quotes[:3] == ["Cleaning takes these:", "- a soft brush and warm water", "- a dry cloth"]


def test_what_only_announces_code_is_not_quoted_and_nor_is_the_code() -> None:
    log = GraphLog()
    text = 'Blades are sharpened so:\n\n```json\n{"blades": "sharpening"}\n```\n\nAny new file sharpens them.\n'
    log.put("manual", f"# Mowers\n\n## Sharpening blades\n\n{text}", {"content_type": "text/markdown"})
    assert [source.quote for source in quoted(log, "sharpening blades")] == ["Any new file sharpens them."]


SETTINGS = """# Settings

| setting | default | means |
| --- | --- | --- |
| `drain_seconds` | 30 | How long a stop may take. It is counted from the signal. |
| `quarantine` | none | Where a document waits that cannot be taken. |

Settings are read at the start.
"""


def settings() -> GraphLog:
    log = GraphLog()
    log.put("settings", SETTINGS, {"title": "Reference", "content_type": "text/markdown"})
    return log


def test_a_row_of_a_table_answers_for_what_its_first_cell_names() -> None:
    (source,) = quoted(settings(), "What is quarantine?")
    assert source.quote == "`quarantine` | none | Where a document waits that cannot be taken."
    assert SETTINGS[source.start : source.end] == source.quote


def test_what_follows_in_a_row_stands_under_its_first_cell() -> None:
    quotes = [source.quote for source in quoted(settings(), "From which signal is the drain counted?")]
    assert "It is counted from the signal." in quotes


def test_the_head_and_the_rule_of_a_table_are_not_quoted() -> None:
    quotes = [source.quote for source in quoted(settings(), "What is the default of a setting?")]
    assert not any("means" in quote or "---" in quote for quote in quotes)


def test_hops_are_quoted_in_the_order_in_which_they_lead_on() -> None:
    log = GraphLog()
    log.put("p", "Otto Weber was a director. He was born in Graz in 1901.", {"title": "Otto Weber"})
    log.put("f", "Silent Hills is a film of 1930 directed by Otto Weber.", {"title": "Silent Hills"})
    log.put("x", "Green Lakes is a film of 1950 directed by Anna Falk.", {"title": "Green Lakes"})
    assert [source.document_id for source in quoted(log, "When was the director of Silent Hills born?")] == ["f", "p"]


def test_a_word_of_a_longer_name_leads_to_no_document_of_that_title() -> None:
    log = GraphLog()
    log.put("f", "Silent Hills is a film directed by Princess Anna.", {"title": "Silent Hills"})
    log.put("p", "Princess is a film about a palace.", {"title": "Princess"})
    assert "p" not in [source.document_id for source in quoted(log, "Who directed the film Silent Hills?")]


def test_of_a_named_document_that_is_all_layout_the_layout_is_quoted() -> None:
    log = GraphLog()
    log.put("t", "| Silent Hills | 1930 |", {"title": "Silent Hills"})
    assert [source.document_id for source in quoted(log, "When was Silent Hills made?")] == ["t"]


def releases() -> GraphLog:
    log = GraphLog()
    said = {
        "Wrench": ("in Graz by Otto Weber", 2021),
        "Pliers": ("with red handles", 2019),
        "Hammer": ("as steel", 2023),
    }
    for name, (how, year) in said.items():
        log.put(name, f"{name} was released {how}.", {"title": name, "published_at": f"{year}-05-01T00:00:00Z"})
    return log


@pytest.mark.parametrize(
    ("question", "order"),
    [
        ("In which order were Hammer, Pliers and Wrench released?", ["Pliers", "Wrench", "Hammer"]),
        ("What is the latest of Pliers, Wrench and Hammer?", ["Hammer", "Wrench", "Pliers"]),
        ("Who released Wrench, Hammer and Pliers?", ["Wrench", "Hammer", "Pliers"]),
    ],
)
def test_quotations_are_in_the_order_of_time_that_is_asked_for(question: str, order: list[str]) -> None:
    assert [source.document_id for source in quoted(releases(), question)] == order
