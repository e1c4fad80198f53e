"""Documents and questions in other languages than English, from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.service import GraphService, ServiceOptions, create_graph_service

HELP = {
    "en": {
        "password": "Passwords are reset in the settings. Open Security and choose a new one.",
        "invoice": "Invoices are sent by mail on the first day of each month. They can be paid by card.",
        "opening": "The library opens at nine in the morning. It is closed on public holidays.",
        "travel": "Train tickets are booked by the assistant. Flights need the approval of the director.",
    },
    "de": {
        "password": "Passwörter werden in den Einstellungen zurückgesetzt. Danach ist eine neue Anmeldung nötig.",
        "invoice": "Rechnungen werden am ersten Tag des Monats verschickt. Sie können mit Karte bezahlt werden.",
        "opening": "Die Bibliothek öffnet um neun Uhr. An Feiertagen bleibt sie geschlossen.",
        "travel": "Fahrkarten bucht das Sekretariat. Flüge muss die Leiterin genehmigen.",
    },
    "fr": {
        "password": "Les mots de passe sont réinitialisés dans les paramètres. Une nouvelle connexion est nécessaire.",
        "invoice": "Les factures sont envoyées le premier jour du mois. Elles se paient par carte.",
        "opening": "La bibliothèque ouvre à neuf heures. Elle reste fermée les jours fériés.",
        "travel": "Les billets de train sont réservés par le secrétariat. Les vols exigent un accord.",
    },
    "ja": {
        "password": "パスワードは設定画面で再設定できます。その後もう一度ログインしてください。",
        "invoice": "請求書は毎月一日に送付されます。カードで支払うことができます。",
        "opening": "図書館は午前九時に開館します。祝日は休館です。",
        "travel": "電車の切符は秘書が予約します。飛行機には部長の承認が必要です。",
    },
    "ar": {
        "password": "تتم إعادة تعيين كلمات المرور في صفحة الإعدادات. بعد ذلك يجب تسجيل الدخول من جديد.",
        "invoice": "ترسل الفواتير في اليوم الأول من كل شهر. ويمكن دفعها بالبطاقة.",
        "opening": "تفتح المكتبة أبوابها في الساعة التاسعة صباحا. وهي مغلقة أيام العطل الرسمية.",
        "travel": "تحجز السكرتيرة تذاكر القطار. وتحتاج الرحلات الجوية إلى موافقة المدير.",
    },
}
ASKED = [
    ("en", "How is my password reset?", "password", 0),
    ("en", "When does the library open?", "opening", 0),
    ("de", "Wie wird mein Passwort zurückgesetzt?", "password", 0),
    ("de", "Wann wird die Rechnung verschickt?", "invoice", 0),
    ("de", "Wer bucht meine Fahrkarte?", "travel", 0),
    ("fr", "Comment réinitialiser un mot de passe ?", "password", 0),
    ("fr", "Quand la facture est-elle envoyée ?", "invoice", 0),
    ("fr", "À quelle heure ouvrent les bibliothèques ?", "opening", 0),
    ("ja", "パスワードを再設定するにはどうすればいいですか\uff1f", "password", 0),
    ("ja", "図書館は何時に開館しますか\uff1f", "opening", 0),
    ("ja", "請求書はいつ送付されますか\uff1f", "invoice", 0),
    ("ar", "كيف يمكنني إعادة تعيين كلمة المرور؟", "password", 0),
    ("ar", "متى تفتح المكتبة؟", "opening", 0),
    ("ar", "من يحجز تذكرة القطار؟", "travel", 0),
]
STOPS = (". ", "。")


def sentence(language: str, name: str, number: int) -> str:
    text = HELP[language][name]
    for stop in STOPS:
        text = text.replace(stop, stop.strip() + "\n")
    return text.split("\n")[number].strip()


async def fill(service: GraphService, *languages: str, tagged: bool) -> None:
    for language in languages:
        for name, content in HELP[language].items():
            result = await service.process_document(
                document_id=f"{language}-{name}", content=content, metadata={"language": language} if tagged else {}
            )
            assert result.error is None


@pytest.mark.parametrize(("language", "question", "name", "number"), ASKED)
async def test_a_store_of_many_languages_answers_each_question_in_its_own(
    tmp_path: Path, language: str, question: str, name: str, number: int
) -> None:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        await fill(service, *HELP, tagged=True)
        answer = await service.query(question)
    assert not answer.abstained, answer.reason
    assert answer.sources[0].document_id == f"{language}-{name}"
    assert answer.sources[0].quote == sentence(language, name, number)


@pytest.mark.parametrize(("language", "question", "name", "number"), ASKED)
async def test_a_store_with_a_language_of_its_own_needs_no_word_of_it_in_documents(
    tmp_path: Path, language: str, question: str, name: str, number: int
) -> None:
    options = ServiceOptions(language=language)
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}", options=options) as service:
        await fill(service, language, tagged=False)
        answer = await service.query(question)
    assert not answer.abstained, answer.reason
    assert answer.sources[0].document_id == f"{language}-{name}"
    assert answer.sources[0].quote == sentence(language, name, number)


@pytest.mark.parametrize("language", ["de", "fr", "ja", "ar"])
async def test_documents_that_name_no_language_are_found_all_the_same(tmp_path: Path, language: str) -> None:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        await fill(service, "en", language, tagged=False)
        for asked, question, name, _ in ASKED:
            if asked == language:
                hits = await service.retrieve(question)
                assert hits[0].document_id == f"{language}-{name}", question


async def test_an_unanswerable_question_is_not_answered_in_any_language(tmp_path: Path) -> None:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        await fill(service, *HELP, tagged=True)
        for question in ("Wie hoch ist der Eiffelturm?", "Quelle est la capitale du Pérou ?", "富士山の高さは\uff1f"):
            assert (await service.query(question)).abstained, question


@pytest.mark.parametrize("tag", ["de", "DE", "de-AT", "de_DE", "deu", "ger", "German"])
async def test_a_language_may_be_named_in_any_usual_way(tmp_path: Path, tag: str) -> None:
    async with await create_graph_service(f"sqlite:{tmp_path / 'store.db'}") as service:
        await service.process_document(
            document_id="a", content="Die Häuser stehen am Hang.", metadata={"language": tag}
        )
        await service.process_document(document_id="b", content="Das Haustier schläft.", metadata={"language": tag})
        answer = await service.query("Welches Haus ist am Hang?")
        assert answer.answer == "Die Häuser stehen am Hang."
        assert answer.validation.components["coverage"] == 1


async def test_another_default_language_has_the_index_made_anew(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'store.db'}"
    async with await create_graph_service(url) as service:
        await fill(service, "de", tagged=False)
        assert (await service.query("Wann wird die Rechnung verschickt?")).validation.components["coverage"] < 1
    for _ in range(2):
        async with await create_graph_service(url, options=ServiceOptions(language="german")) as service:
            answer = await service.query("Wann wird die Rechnung verschickt?")
            assert answer.validation.components["coverage"] == 1
            assert answer.answer == sentence("de", "invoice", 0)


async def test_a_default_that_names_no_language_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="must name a language") as refused:
        await create_graph_service(f"sqlite:{tmp_path / 'store.db'}", options=ServiceOptions(language="the usual one"))
    assert refused.value.field == "language"
