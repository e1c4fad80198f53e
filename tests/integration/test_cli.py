"""The command line on a store of its own: what it prints, on which stream, and how it ends."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import structlog

from hub.cli import main
from hub.cli.options import DEFAULT_CONFIG, Place
from tests.bedrock_rig import service_url

DOCUMENTS = [
    {"document_id": "1", "content": "The Amazon is the largest river. It flows through Brazil.", "metadata": {}},
    {"_id": "2", "title": "Nile", "text": "The Nile is a river in Egypt. It is 6,650 km long."},
]


@dataclass
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("AIME_STORE", "AIME_URL", "AIME_API_KEY", "AIME_TRACEBACK", "AIME_LOG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def aime(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command as its entry point does."""
    handlers, config = logging.getLogger().handlers[:], structlog.get_config()

    def run(*args: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["aime", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(int(ended.value.code or 0), out, err)

    yield run
    logging.getLogger().handlers[:] = handlers
    structlog.configure(**config)


def corpus(folder: Path, *documents: object, name: str = "corpus.jsonl") -> str:
    lines = [document if isinstance(document, str) else json.dumps(document) for document in documents]
    (folder / name).write_text("\n".join(lines))
    return name


# ---------------------------------------------------------------- ingest and query


def test_ingest_counts_what_became_of_the_documents(aime: Run, folder: Path) -> None:
    file = corpus(folder, *DOCUMENTS)
    first = aime("ingest", file, "--json")
    assert first.code == 0
    assert first.json | {"seconds": 0} == {
        "documents": 2, "processed": 2, "unchanged": 0, "rejected": 0, "graph_version": 2, "seconds": 0,
    }  # fmt: skip
    again = aime("ingest", file)
    assert again.code == 0
    assert again.out.startswith("2 documents in ")
    assert "0 processed, 2 unchanged, 0 rejected. The graph is at version 2." in again.out
    assert again.err == ""


def test_ingest_of_what_is_all_there_names_the_version_of_the_graph_and_not_of_the_documents(
    aime: Run, folder: Path
) -> None:
    aime("ingest", corpus(folder, DOCUMENTS[0]))
    aime("ingest", corpus(folder, DOCUMENTS[1], name="later.jsonl"))
    assert aime("ingest", "corpus.jsonl", "--json").json["graph_version"] == 2


def test_ingest_names_each_rejected_document_with_file_and_line_and_takes_the_others(aime: Run, folder: Path) -> None:
    bad = {"document_id": "3", "content": "x", "metadata": {"published_at": "yesterday"}}
    outcome = aime("ingest", corpus(folder, DOCUMENTS[0], "{broken", bad, DOCUMENTS[1]), "--json")
    assert outcome.code == 1
    assert (outcome.json["processed"], outcome.json["rejected"]) == (2, 2)
    first, second = sorted(outcome.err.splitlines())
    assert first.startswith("corpus.jsonl:2: is not JSON: ")
    assert second.startswith("corpus.jsonl:3: document 3: metadata.published_at: ")
    rejected = aime("audit", "--action", "document.rejected", "--json").json
    assert {record["subject"] for record in rejected} == {"", "3"}


def test_one_document_is_not_called_documents(aime: Run, folder: Path) -> None:
    assert aime("ingest", corpus(folder, DOCUMENTS[0])).out.startswith("1 document in ")


def test_the_version_is_that_of_the_installed_package(aime: Run) -> None:
    outcome = aime("--version")
    assert (outcome.code, outcome.out) == (0, f"aime-hub {version('aime-hub')}\n")


@pytest.mark.parametrize("said", ["document", "option", "configuration"])
def test_a_language_comes_from_the_document_the_option_or_the_configuration(aime: Run, folder: Path, said: str) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": "1", "text": "Rechnungen werden am ersten Tag des Monats verschickt."},
        {"_id": "2", "text": "Die Bibliothek bleibt an Feiertagen geschlossen."},
    ]
    if said == "document":
        documents = [{**document, "metadata": {"language": "de"}} for document in documents]
    if said == "configuration":
        (folder / "plugins.toml").write_text('[hub]\nlanguage = "german"\n')
    option = ("--language", "de") if said == "option" else ()
    assert aime("ingest", corpus(folder, *documents), *option).code == 0
    answer = aime("query", "Wann wird meine Rechnung verschickt?", "--json").json
    assert answer["sources"][0]["document_id"] == "1"
    assert answer["answer"] == documents[0]["text"]
    assert answer["validation"]["components"]["coverage"] == 1, "Rechnung is a form of Rechnungen"


def test_texts_of_a_folder_are_named_by_their_path_and_given_the_source(aime: Run, folder: Path) -> None:
    (folder / "notes" / "rivers").mkdir(parents=True)
    (folder / "notes" / "rivers" / "rhine.md").write_text("# The Rhine\n\nThe Rhine flows into the North Sea.")
    assert aime("ingest", "notes", "--source", "field notes").code == 0
    exported = aime("export").json
    [document] = exported["documents"]
    assert document["document_id"] == "notes/rivers/rhine.md"
    assert document["metadata"] == {
        "title": "The Rhine", "source": "field notes", "content_type": "text/markdown",
    }  # fmt: skip


def test_a_path_that_is_not_there_is_wrong_usage(aime: Run) -> None:
    outcome = aime("ingest", "nowhere")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "aime: nowhere is not there\n")


def test_query_prints_the_answer_of_the_http_api_or_shows_it_to_people(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    answer = aime("query", "How long is the Nile?", "--json").json
    assert answer["answer"] == "It is 6,650 km long."
    [source] = answer["sources"]
    assert (source["document_id"], source["quote"]) == ("2", "It is 6,650 km long.")
    assert 0 < answer["validation"]["groundedness_score"] <= 1
    shown = aime("query", "How long is the Nile?").out
    assert shown.startswith("It is 6,650 km long.\ngroundedness ")
    assert "[1] Nile (2, 30-50)" in shown


def test_filters_narrow_what_may_answer(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    outcome = aime("query", "How long is the Nile?", "--filters", '{"document_ids": ["1"]}', "--json")
    assert outcome.code == 0
    assert all(source["document_id"] == "1" for source in outcome.json["sources"])


@pytest.mark.parametrize(
    ("filters", "says"),
    [("{", "is not JSON"), ("[]", "must be a JSON object"), ('{"date_range": 7}', "date_range")],
)
def test_filters_that_cannot_be_read_are_wrong_usage(aime: Run, folder: Path, filters: str, says: str) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    outcome = aime("query", "Nile?", "--filters", filters)
    assert (outcome.code, outcome.out) == (2, "")
    assert says in outcome.err


# ---------------------------------------------------------------- versions and entities


def test_query_answers_as_of_an_earlier_version(aime: Run, folder: Path) -> None:
    for place in ("Settings", "Security"):
        document = {"document_id": "1", "content": f"The password is changed under {place}."}
        assert aime("ingest", corpus(folder, document)).code == 0
    asked = ("query", "Where is the password changed?", "--json")
    assert aime(*asked).json["answer"] == "The password is changed under Security."
    assert aime(*asked, "--as-of", "1").json["answer"] == "The password is changed under Settings."
    late = aime(*asked, "--as-of", "9")
    assert late.code != 0
    assert "as_of_version 9" in late.err


def test_entities_are_listed_shown_and_connected_by_name(aime: Run, folder: Path) -> None:
    letters = {"document_id": "1", "content": "Ada Lovelace knew Charles Babbage.", "metadata": {"title": "Letters"}}
    meeting = {"document_id": "2", "content": "Charles Babbage met John Herschel."}
    aime("ingest", corpus(folder, letters, meeting))
    assert "Charles Babbage" in aime("entities", "list", "charles").out
    assert "No entity" in aime("entities", "list", "nobody").out
    page = aime("entities", "show", "charles  babbage")
    assert "“Charles Babbage met John Herschel.”" in page.out
    [[first, second]] = aime("entities", "paths", "Ada Lovelace", "John Herschel", "--json").json["paths"]
    assert (first["document_id"], second["document_id"]) == ("1", "2")
    printed = aime("entities", "paths", first["first"]["id"], "John Herschel").out
    assert "[1] Ada Lovelace - Charles Babbage - John Herschel" in printed
    near = aime("entities", "paths", "Ada", "John Herschel", "--max-length", "1")
    assert near.code == 1
    assert "there are Ada Lovelace" in near.err
    none = aime("entities", "paths", "Ada Lovelace", "John Herschel", "--max-length", "1")
    assert (none.code, none.out.strip()) == (0, "No path of at most 1 steps.")


# ---------------------------------------------------------------- where a command works


def test_a_command_that_reads_makes_no_store_by_a_slip_of_the_pen(aime: Run, folder: Path) -> None:
    outcome = aime("query", "Nile?", "--store", "sqlite:typo.db")
    assert outcome.code == 2
    assert outcome.err == "aime: there is no store typo.db; `aime ingest` or `aime run` makes one\n"
    assert list(folder.iterdir()) == []


def test_what_is_no_store_is_one_sentence_and_exit_code_1(aime: Run, folder: Path) -> None:
    (folder / "notes.db").write_text("These are my notes, and no database at all.")
    outcome = aime("query", "Nile?", "--store", "sqlite:notes.db")
    assert outcome.code == 1
    assert outcome.err.count("\n") == 1
    assert "not a store of AI.me Hub" in outcome.err
    assert (folder / "notes.db").read_text().startswith("These are my notes")


def test_options_come_before_the_environment_and_that_before_the_configuration(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(store: str | None = None, url: str | None = None) -> Place:
        return Place.of(store=store, url=url, api_key=None, config=None)

    assert place() == Place("sqlite:aime.db")
    (folder / "plugins.toml").write_text('[hub]\nstore = "sqlite:configured.db"\nmax_content_bytes = 1000\n')
    assert place() == Place("sqlite:configured.db", max_content_bytes=1000, config=DEFAULT_CONFIG)
    monkeypatch.setenv("AIME_STORE", "sqlite:environment.db")
    assert place() == Place("sqlite:environment.db", max_content_bytes=1000, config=DEFAULT_CONFIG)
    monkeypatch.setenv("AIME_URL", "http://hub")
    monkeypatch.setenv("AIME_API_KEY", "aime_1_2")
    assert place() == Place("", "http://hub", "aime_1_2")
    assert place(store="sqlite:option.db") == Place("sqlite:option.db", max_content_bytes=1000, config=DEFAULT_CONFIG)
    assert place(url="http://option") == Place("", "http://option", "aime_1_2")


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("query",),
        ("query", "x", "--top-k", "0"),
        ("query", "x", "--store", "sqlite:a.db", "--url", "http://hub"),
        ("run", "--log-level", "loud"),
        ("eval", "--queries", "q", "--qrels", "r", "--store", "sqlite:a.db", "--corpus", "c"),
        ("keys", "create", "x", "--expires", "soon"),
        ("deliveries", "list", "--state", "lost"),
        ("export", "--graphml", "--json"),
        ("export", "--format", "graphml", "--json"),
        ("export", "--format", "png"),
        ("ask", "desk"),
        ("ask", "desk", "x", "--fields", "[]"),
        ("ask", "desk", "x", "--fields", '{"callback_url": "https://example.com"}'),
    ],
)
def test_wrong_usage_is_exit_code_2_and_leaves_nothing_behind(aime: Run, folder: Path, args: tuple[str, ...]) -> None:
    outcome = aime(*args)
    assert (outcome.code, outcome.out) == (2, "")
    assert "Error: " in outcome.err
    assert list(folder.iterdir()) == []


def test_a_hub_that_does_not_answer_is_one_sentence(aime: Run) -> None:
    outcome = aime("query", "Nile?", "--url", "http://127.0.0.1:1")
    assert outcome.code == 1
    assert outcome.err.startswith("aime: the hub at http://127.0.0.1:1 does not answer: ")
    assert outcome.err.count("\n") == 1


# ---------------------------------------------------------------- keys, audit, export, gc


def test_a_key_is_shown_once_and_stands_nowhere_in_the_clear(aime: Run, folder: Path) -> None:
    made = aime("keys", "create", "ops", "--scope", "read", "--scope", "write", "--principal", "staff", "--json").json
    assert made["secret"].startswith(f"aime_{made['id']}_")
    listed = aime("keys", "list", "--json")
    [key] = listed.json
    assert (key["name"], key["scopes"], key["principals"]) == ("ops", ["read", "write"], ["staff"])
    secret = made["secret"].removeprefix(f"aime_{made['id']}_")
    assert secret not in listed.out + aime("audit", "--json").out
    assert all(secret.encode() not in file.read_bytes() for file in folder.glob("aime.db*") if file.is_file())
    assert aime("keys", "revoke", made["id"]).code == 0
    assert aime("keys", "list", "--json").json[0]["revoked_at"] is not None
    assert [record["action"] for record in aime("audit", "--json").json] == ["key.revoked", "key.created"]


def test_a_key_with_a_scope_that_does_not_exist_is_refused_by_name(aime: Run) -> None:
    outcome = aime("keys", "create", "ops", "--scope", "everything")
    assert outcome.code == 2
    assert "scopes" in outcome.err


def test_what_is_not_there_is_exit_code_1(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    for args in (("keys", "revoke", "beef"), ("deliveries", "replay", "beef")):
        outcome = aime(*args)
        assert outcome.code == 1
        assert "beef" in outcome.err


def test_the_same_documents_export_the_same_bytes_whatever_their_order_and_history(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS), "--store", "sqlite:a.db")
    draft = {**DOCUMENTS[0], "content": "The Amazon is a draft. Nobody kept it."}
    aime("ingest", corpus(folder, draft, DOCUMENTS[1], name="draft.jsonl"), "--store", "sqlite:b.db")
    aime("ingest", corpus(folder, *reversed(DOCUMENTS)), "--store", "sqlite:b.db")
    for form in ([], ["--format", "graphml"]):
        first = aime("export", "--store", "sqlite:a.db", *form)
        second = aime("export", "--store", "sqlite:b.db", *form)
        assert first.code == second.code == 0
        assert first.out == second.out


def test_the_export_holds_every_document_chunk_entity_and_mention(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    graph = aime("export").json
    names = {entity["id"]: entity["name"] for entity in graph["entities"]}
    assert {"nile", "egypt", "brazil"} <= set(names.values())
    for document, original in zip(graph["documents"], DOCUMENTS, strict=True):
        text = "".join(chunk["text"] for chunk in document["chunks"])
        assert text == original.get("content", original.get("text"))
        for chunk in document["chunks"]:
            for mention in chunk["mentions"]:
                quoted = chunk["text"][mention["start"] : mention["end"]] if mention["start"] >= 0 else None
                assert quoted is None or quoted.lower() == names[mention["entity"]]


def test_graphml_is_well_formed_and_its_edges_join_nodes_that_are_there(aime: Run, folder: Path) -> None:
    odd = {"document_id": 'a<"&>b', "content": "Tom & Jerry met \x0b in <Rome>.\r\nThen Paris.", "metadata": {}}
    aime("ingest", corpus(folder, odd, *DOCUMENTS))
    written = aime("export", "--graphml", "--output", "graph.graphml", "--json").json
    assert written["bytes"] == (folder / "graph.graphml").stat().st_size
    root = ET.parse(folder / "graph.graphml").getroot()
    space = "{http://graphml.graphdrawing.org/xmlns}"
    nodes = {node.attrib["id"]: node for node in root.iter(f"{space}node")}
    edges = [(edge.attrib["source"], edge.attrib["target"]) for edge in root.iter(f"{space}edge")]
    assert 'd:a<"&>b' in nodes
    assert edges
    assert all(source in nodes and target in nodes for source, target in edges)
    texts = [data.text for data in nodes['c:a<"&>b#0'] if data.attrib["key"] == "text"]
    assert texts == ["Tom & Jerry met \ufffd in <Rome>.\r\nThen Paris."]


def test_an_export_that_cannot_be_written_leaves_what_was_there(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    outcome = aime("export", "--output", "missing/graph.json")
    assert outcome.code == 2
    assert "missing/graph.json: cannot be written" in outcome.err
    assert not list(folder.glob("*.partial"))


def test_after_gc_the_past_is_gone_and_every_document_of_today_still_answers(aime: Run, folder: Path) -> None:
    many = [{"document_id": f"d{n}", "content": f"Town number {n} lies on a river."} for n in range(600)]
    aime("ingest", corpus(folder, *many, DOCUMENTS[1]))
    aime("ingest", corpus(folder, {**many[0], "content": "Town number 0 lies on a hill."}, name="edit.jsonl"))
    assert aime("gc", "--json").json == {"before": 602, "dropped": 1}
    assert aime("query", "How long is the Nile?").out.startswith("It is 6,650 km long.")
    assert aime("query", "Where does town number 0 lie?").out.startswith("Town number 0 lies on a hill.")
    assert aime("gc", "--json").json == {"before": 602, "dropped": 0}


# ---------------------------------------------------------------- eval, config, doctor


def test_eval_measures_on_a_corpus_of_its_own_and_leaves_no_store(aime: Run, folder: Path) -> None:
    file = corpus(folder, *DOCUMENTS)
    corpus(folder, {"_id": "q", "text": "How long is the Nile?"}, name="queries.jsonl")
    corpus(folder, "query-id\tcorpus-id\tscore", "q\t2\t1", name="qrels.tsv")
    outcome = aime("eval", "--corpus", file, "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--json")
    assert outcome.code == 0
    figures = outcome.json
    assert figures.pop("latency_ms").keys() == {"p50", "p99"}
    assert figures == {
        "documents": 2, "questions": 1, "recall@2": 1.0, "recall@5": 1.0, "recall@10": 1.0, "ndcg@10": 1.0,
    }  # fmt: skip
    assert not list(folder.glob("*.db"))


def test_eval_tells_how_honestly_the_hub_abstains(aime: Run, folder: Path) -> None:
    file = corpus(folder, *DOCUMENTS)
    corpus(folder, {"_id": "q", "text": "How long is the Nile?"}, name="queries.jsonl")
    corpus(folder, "query-id\tcorpus-id\tscore", "q\t2\t1", name="qrels.tsv")
    options = ("eval", "--corpus", file, "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--abstention")
    figures = aime(*options, "--json").json
    assert figures["abstention"]["answered"] == {"answerable": 1.0, "all_present": 1.0, "unanswerable": 0.0}
    assert "of the unanswerable" in aime(*options).out
    refused = aime(
        "eval", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--store", "sqlite:a.db", "--abstention"
    )
    assert (refused.code, "--corpus" in refused.err) == (2, True)


def test_config_check_says_all_that_is_wrong_with_file_line_and_nearest_name(aime: Run, folder: Path) -> None:
    (folder / "plugins.toml").write_text('[hub]\nlisten = "nowhere"\nstoer = "sqlite:x.db"\n')
    outcome = aime("config", "check")
    assert (outcome.code, outcome.out) == (2, "")
    assert "plugins.toml:2: " in outcome.err
    assert "plugins.toml:3: " in outcome.err
    assert "store" in outcome.err
    found = aime("config", "check", "--json").json
    assert found["ok"] is False
    assert [error["where"] for error in found["errors"]] == ["plugins.toml:2", "plugins.toml:3"]


WRONG_IN_BOTH_PASSES = """
[hub]
stoer = "sqlite:x.db"

[connectors.notes]
kind = "filesystem"
path = "notes"
evry = "1m"

[connectors.crm]
kind = "webhook"
notify.url = "https://crm.example.com/hooks/aime"
notify.secret = "${NO_SUCH_SECRET}"
notify.events = ["document.procesed"]
receive.secret = "${NO_SUCH_SECRET}"

[connectors.news]
kind = "feed"
every = "often"
"""


def test_config_check_says_what_is_wrong_with_the_hubs_keys_and_the_kinds_in_one_go_and_each_once(
    aime: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_SECRET", raising=False)
    (folder / "other.toml").write_text(WRONG_IN_BOTH_PASSES)
    for args in (("other.toml",), ("--config", "other.toml")):
        errors = {error["where"]: error["message"] for error in aime("config", "check", *args, "--json").json["errors"]}
        assert list(errors) == [f"other.toml:{line}" for line in (3, 8, 13, 14, 15, 17, 19)]
        assert errors["other.toml:8"].endswith('did you mean "every"?')
        assert errors["other.toml:14"].endswith('did you mean "document.processed"?')
        for line, key in ((13, "notify"), (15, "receive")):
            message = f"connectors.crm.{key}.secret needs the environment variable NO_SUCH_SECRET, which is not set"
            assert errors[f"other.toml:{line}"] == message
    outcome = aime("config", "check", "other.toml")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 7)
    assert aime("config", "check", "other.toml", "--config", "other.toml").code == 2


def test_config_check_warns_of_what_will_hardly_work(aime: Run, folder: Path) -> None:
    connector = '[connectors.notes]\nkind = "filesystem"\npath = "notes"\n'
    answers = 'answers.form = "support"\nanswers.sources = ["notes", "tickets"]\n'
    (folder / "plugins.toml").write_text(f'[hub]\nlisten = "0.0.0.0:8080"\n{connector}{answers}')
    outcome = aime("config", "check")
    assert (outcome.code, outcome.out[:21]) == (0, "plugins.toml is right")
    address, path, sources = outcome.err.splitlines()
    assert address.startswith("warning: plugins.toml: hub.listen: 0.0.0.0:8080 can be reached from other machines")
    assert path == "warning: plugins.toml:5: connectors.notes.path names notes, which is not there"
    assert sources.endswith("connectors.notes.answers names the source 'tickets', which no connector here brings")
    aime("keys", "create", "ops")
    (folder / "notes").mkdir()
    (folder / "plugins.toml").write_text(f'[hub]\nlisten = "0.0.0.0:8080"\n{connector}')
    assert aime("config", "check", "--json").json["warnings"] == []


def test_a_broken_configuration_stops_a_command_with_exit_code_2(aime: Run, folder: Path) -> None:
    (folder / "plugins.toml").write_text("[hub\n")
    for args in (("run",), ("query", "x"), ("connectors", "list")):
        outcome = aime(*args)
        assert outcome.code == 2
        assert "plugins.toml:1" in outcome.err


def test_config_schema_describes_the_hub_and_each_installed_kind(aime: Run) -> None:
    schema = aime("config", "schema").json
    assert {"hub", "connectors", "projection", "model"} == set(schema["properties"])
    assert "webhook" in schema["$defs"]


def test_doctor_finds_a_sound_store_sound(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    outcome = aime("doctor", "--json")
    states = {finding["subject"]: finding["state"] for finding in outcome.json}
    assert outcome.code == 0
    for subject in ("python", "sqlite", "disk", "store", "schema", "clock", "lock"):
        assert states[subject] == "ok"


MODEL = """
[model]
kind = "bedrock"
region = "eu-central-1"
model_id = "amazon.nova-lite-v1:0"
endpoint_url = "{url}"
access_key_id = "${{MODEL_KEY}}"
secret_access_key = "${{MODEL_SECRET}}"
"""


@pytest.mark.parametrize("there", [True, False])
def test_doctor_asks_the_model_for_a_word(
    aime: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    url = service_url("ministack") if there else "http://127.0.0.1:1"
    monkeypatch.setenv("MODEL_KEY", "AKIDEXAMPLE")
    monkeypatch.setenv("MODEL_SECRET", "a very secret key")
    (folder / "plugins.toml").write_text(MODEL.format(url=url))
    outcome = aime("doctor", "--json")
    [model] = [finding for finding in outcome.json if finding["subject"] == "model"]
    assert model["state"] == ("ok" if there else "failed")
    assert "amazon.nova-lite-v1:0 in eu-central-1" in model["detail"]
    assert bool(model["advice"]) is not there
    assert "a very secret key" not in outcome.out + outcome.err


def test_a_question_is_put_to_the_model_and_says_what_came_of_it(
    aime: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_KEY", "AKIDEXAMPLE")
    monkeypatch.setenv("MODEL_SECRET", "a very secret key")
    (folder / "plugins.toml").write_text(MODEL.format(url=service_url("ministack")))
    aime("ingest", corpus(folder, *DOCUMENTS))
    outcome = aime("query", "How long is the Nile?")
    assert "not worded by amazon.nova-lite-v1:0: The evidence does not say what the model wrote." in outcome.out
    assert "It is 6,650 km long." in outcome.out


def test_config_check_says_what_is_wrong_with_a_model(aime: Run, folder: Path) -> None:
    (folder / "plugins.toml").write_text(MODEL.format(url="x") + 'budget = 1\nuse = "extraction"\n')
    outcome = aime("config", "check")
    assert outcome.code == 2
    for line, words in ((6, "https://HOST"), (7, "MODEL_KEY"), (9, "not a setting"), (10, "model.use")):
        assert any(f"plugins.toml:{line}: " in each and words in each for each in outcome.err.splitlines()), words


def test_doctor_says_what_to_do_about_a_damaged_store_and_a_wrong_configuration(aime: Run, folder: Path) -> None:
    aime("ingest", corpus(folder, *DOCUMENTS))
    with (folder / "aime.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    outcome = aime("doctor", "--json")
    assert outcome.code == 1
    [store] = [finding for finding in outcome.json if finding["subject"] == "store"]
    assert store["state"] == "failed"
    assert "backup" in store["advice"]
    (folder / "plugins.toml").write_text("[hub]\nlisten = 7\n")
    [configuration] = [each for each in aime("doctor", "--json").json if each["subject"] == "configuration"]
    assert configuration["state"] == "failed"
    assert "plugins.toml:2" in configuration["detail"]
