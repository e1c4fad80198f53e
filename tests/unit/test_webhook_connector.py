"""The webhook connector: its table, what it makes of inbound bodies, what it sends."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook

from connectors.webhook.config import WebhookConfig
from connectors.webhook.connector import create, hub_connectors
from connectors.webhook.mapping import changes
from core.errors import AuthFailed, InvalidInput, NotReady, NotSent, RateLimited, VerificationFailed
from core.model import Delete, Document, Failure, Upsert
from hub.sdk.contract import Context, HttpResponse, InboundRequest, Notification, Notifies, Receives
from hub.sdk.payloads import MappingConfig
from hub.sdk.webhooks import HmacScheme, HmacWebhook, StandardWebhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Wire:
    """Stands where the hub's HTTP client stands, and answers as it is told: the seam that `HttpClient` is."""

    def __init__(self, answer: HttpResponse | Exception) -> None:
        self.answer = answer
        self.requests: list[dict[str, Any]] = []

    async def request(self, method: str, url: str, **options: Any) -> HttpResponse:
        self.requests.append({"method": method, "url": url, **options})
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answered(status: int, body: bytes = b"", retry_after: float | None = None) -> HttpResponse:
    return HttpResponse(status, {}, body, "https://crm.example.com/hook", retry_after)


def context(wire: Wire | None = None) -> Context:
    async def run_blocking(*_: Any) -> Any:
        raise AssertionError("nothing here blocks")

    return Context(
        name="crm",
        source="crm",
        http=wire or Wire(answered(204)),
        log=structlog.stdlib.get_logger(),
        now=lambda: NOW,
        run_blocking=run_blocking,
    )


def receiving(**table: Any) -> Receives:
    config = WebhookConfig.model_validate({"receive": {"secret": SECRET, **table}})
    connector = create(config, context())
    assert isinstance(connector, Receives)
    return connector


def notifying(wire: Wire, **table: Any) -> Notifies:
    notify = {"url": "https://crm.example.com/hook", "secret": SECRET, **table}
    connector = create(WebhookConfig.model_validate({"notify": notify}), context(wire))
    assert isinstance(connector, Notifies)
    return connector


def inbound(body: bytes, headers: Mapping[str, str]) -> InboundRequest:
    return InboundRequest("POST", "/hooks/crm", headers, {}, body, NOW)


def read(payload: object, mapping: MappingConfig | None = None) -> list[Any]:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return changes(body, mapping=mapping, source="crm")


# ---------------------------------------------------------------- its table


def test_it_is_declared_as_webhook() -> None:
    assert [(spec.kind, spec.config) for spec in hub_connectors()] == [("webhook", WebhookConfig)]


def test_an_instance_shows_only_what_its_table_configures() -> None:
    both = {"receive": {"secret": SECRET}, "notify": {"url": "https://x.example/", "secret": SECRET}}
    for table, receives, notifies in (
        ({"receive": both["receive"]}, True, False),
        ({"notify": both["notify"]}, False, True),
        (both, True, True),
    ):
        connector = create(WebhookConfig.model_validate(table), context())
        assert (isinstance(connector, Receives), isinstance(connector, Notifies)) == (receives, notifies)


NOTIFY = {"url": "https://x.example/", "secret": SECRET}


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({}, "receive table"),
        ({"receive": {}}, "receive.secret"),
        ({"receive": {"secret": []}}, "secret"),
        ({"receive": {"secret": "not base64!"}}, "base64"),
        ({"receive": {"secret": "", "scheme": "hmac"}}, "secret"),
        ({"receive": {"secret": SECRET, "scheme": "md5"}}, "receive.scheme"),
        ({"receive": {"secret": SECRET, "header": "x y"}}, "receive.header"),
        ({"receive": {"secret": SECRET, "mapping": {"content": "body"}}}, "receive.mapping.document_id"),
        ({"notify": {"secret": SECRET}}, "notify.url"),
        ({"notify": {"url": "https://x.example/"}}, "notify.secret"),
        ({"notify": {**NOTIFY, "url": "ftp://x.example/"}}, "notify.url"),
        ({"notify": {**NOTIFY, "url": "https://user:pw@x.example/"}}, "notify.headers"),
        ({"notify": {**NOTIFY, "format": "xml"}}, "notify.format"),
        ({"notify": {**NOTIFY, "timeout": "2m"}}, "notify.timeout"),
        ({"notify": {**NOTIFY, "headers": {"webhook-id": "x"}}}, "notify.headers"),
        ({"notify": {**NOTIFY, "headers": {"x": "a\r\nb: c"}}}, "notify.headers"),
        ({"notify": {**NOTIFY, "allow_networks": ["the office"]}}, "notify.allow_networks"),
        ({"notify": {**NOTIFY, "evnts": []}}, "notify.evnts"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_the_name_of_what_is_wrong(table: dict[str, Any], where: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookConfig.model_validate(table)
    shown = "\n".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in caught.value.errors())
    assert where in shown


def test_no_secret_shows_in_a_repr_or_an_error() -> None:
    table = {"receive": {"secret": [SECRET]}, "notify": {**NOTIFY, "headers": {"x-key": "hunter2"}}}
    shown = repr(WebhookConfig.model_validate(table))
    assert SECRET not in shown
    assert "hunter2" not in shown
    with pytest.raises(ValidationError) as caught:
        WebhookConfig.model_validate({"notify": {**NOTIFY, "headers": {"x-key": "hunter2\n"}}})
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------- what it receives


async def test_a_signed_document_becomes_a_change() -> None:
    body = b'{"document_id": "crm-1", "content": "Hello.", "metadata": {"title": "T"}}'
    headers = StandardWebhook([SecretStr(SECRET)]).sign("msg_1", NOW, body)
    (change,) = await receiving().receive(inbound(body, headers))
    assert change == Upsert(
        Document.parse({"document_id": "crm-1", "content": "Hello.", "metadata": {"title": "T", "source": "crm"}})
    )


async def test_an_unsigned_or_old_request_is_refused_before_it_is_read() -> None:
    body = b"not even JSON"
    old = StandardWebhook([SecretStr(SECRET)]).sign("msg_1", NOW - timedelta(minutes=6), body)
    for headers in ({}, old):
        with pytest.raises(VerificationFailed):
            await receiving().receive(inbound(body, headers))


async def test_a_sender_with_a_scheme_of_its_own_is_verified_over_the_raw_body() -> None:
    connector = receiving(
        secret=["new", "old"], scheme="hmac", header="X-Shop-Hmac", encoding="base64", algorithm="sha256"
    )
    body = b'{ "document_id":"a",\n"content":"b" }'
    headers = HmacWebhook([SecretStr("old")], HmacScheme("x-shop-hmac", "sha256", "base64")).sign(body)
    assert len(await connector.receive(inbound(body, headers))) == 1
    with pytest.raises(VerificationFailed, match="X-Shop-Hmac"):
        await connector.receive(inbound(body.replace(b" ", b""), headers))


def test_a_documents_own_source_is_kept() -> None:
    (change,) = read({"document_id": "a", "content": "b", "metadata": {"source": "cms"}})
    assert change.document.metadata.source == "cms"


def test_a_deletion_is_read() -> None:
    assert read({"type": "document.deleted", "document_id": "a"}) == [Delete("a")]
    assert read({"type": "document.deleted", "timestamp": "x", "data": {"document_id": "a"}}) == [Delete("a")]


def test_a_nested_document_is_read() -> None:
    (change,) = read({"type": "document.updated", "timestamp": "x", "data": {"document_id": "a", "content": "b"}})
    assert change.document.document_id == "a"


def test_in_a_list_a_bad_document_fails_alone_and_is_named() -> None:
    found = read(
        {
            "documents": [
                {"document_id": "a", "content": "b"},
                {"document_id": "c", "content": 7},
                {"document_id": "d", "content": "e", "metadata": {"published_at": "soon"}},
                "f",
                {"type": "document.deleted", "document_id": "g"},
            ]
        }
    )
    assert [type(change) for change in found] == [Upsert, Failure, Failure, Failure, Delete]
    assert found[1].document_id == "c"
    assert found[1].error.startswith("documents.1: content: ")
    assert "metadata.published_at" in found[2].error
    assert found[3].error == "documents.3: must be a JSON object, not a string"


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ([], ""),
        ("text", ""),
        ({}, "document_id"),
        ({"document_id": "a"}, "content"),
        ({"document_id": 1, "content": "b"}, "document_id"),
        ({"document_id": "", "content": "b"}, "document_id"),
        ({"document_id": "a\nb", "content": "b"}, "document_id"),
        ({"document_id": "a" * 1_000_000, "content": "b"}, "document_id"),
        ({"document_id": "a", "content": ["b"]}, "content"),
        ({"document_id": "a", "content": "b\x00"}, "content"),
        ({"document_id": "a", "content": "b", "metadata": []}, "metadata"),
        ({"document_id": "a", "content": "b", "metadata": {"published_at": "soon"}}, "metadata.published_at"),
        ({"document_id": "a", "content": "b", "contents": "c"}, "contents"),
        ({"type": "document.deleted"}, "document_id"),
        ({"type": "document.deleted", "document_id": ""}, "document_id"),
        ({"documents": {}}, "documents"),
    ],
)
def test_a_body_that_does_not_fit_is_an_error_that_names_the_field(payload: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(payload)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": ' + b"9" * 10_000 + b"}", b"[" * 200_000, b'{"a":' * 200_000, b"null"],
)
def test_a_body_that_is_no_json_object_is_an_error(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(body)


@given(st.binary())
def test_no_body_fails_in_another_way(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(b"\xff" + body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["document_id", "content", "metadata", "documents", "data", "type"]), inner)
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(payload: object) -> None:
    try:
        found = read(payload)
    except InvalidInput as error:
        found = [Failure(error.message)]
    assert all(isinstance(change, Upsert | Delete | Failure) for change in found)


# ---------------------------------------------------------------- foreign payloads


BLOG = MappingConfig(
    document_id="post.id",
    content="/post/body",
    id_prefix="blog-",
    metadata={"title": "post.title", "url": "/post/dc.link", "tags": "post.tags", "language": "post.lang"},
    delete_when={"event": ("post.trashed", "post.deleted")},
)


def test_a_foreign_payload_is_mapped_by_paths() -> None:
    post = {
        "id": 42,
        "body": "Text.",
        "title": "T",
        "dc.link": "https://x.example/42",
        "tags": ["a", "b"],
        "lang": None,
    }
    (change,) = read({"event": "post.saved", "post": post}, BLOG)
    assert change.document.document_id == "blog-42"
    assert change.document.content == "Text."
    assert change.document.metadata.as_json() == {
        "source": "crm",
        "title": "T",
        "url": "https://x.example/42",
        "tags": ["a", "b"],
    }


def test_a_foreign_deletion_needs_no_content() -> None:
    assert read({"event": "post.trashed", "post": {"id": "42"}}, BLOG) == [Delete("blog-42")]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "post.id"),
        ({"post": 3}, "post.id"),
        ({"post": {"id": True, "body": "x"}}, "post.id"),
        ({"post": {"id": 1}}, "/post/body"),
        ({"post": {"id": 1, "body": {"html": "x"}}}, "/post/body"),
    ],
)
def test_an_error_in_a_foreign_payload_names_its_own_path(payload: object, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(payload, BLOG)
    assert caught.value.field == field


def test_a_foreign_list_is_mapped_item_by_item() -> None:
    mapping = MappingConfig(documents="result.items", document_id="0", content="1")
    found = read({"result": {"items": [{"0": "a", "1": "text"}, {"0": "b"}]}}, mapping)
    assert [type(change) for change in found] == [Upsert, Failure]
    assert found[1].error == "result.items.1: 1: is missing"


# ---------------------------------------------------------------- what it sends


EVENT = Notification("msg_7", "document.deleted", NOW, {"type": "document.deleted", "document_id": "a"})


async def test_a_notification_is_one_signed_post() -> None:
    wire = Wire(answered(204))
    (outcome,) = await notifying(wire, headers={"x-key": "k"}, timeout="3s").notify([EVENT])
    assert (outcome.error, outcome.status) == (None, 204)
    (request,) = wire.requests
    assert (request["method"], request["url"]) == ("POST", "https://crm.example.com/hook")
    assert request["timeout"] == 3
    assert request["headers"]["x-key"] == "k"
    assert request["headers"]["webhook-id"] == "msg_7"
    expected = Webhook(SECRET).sign("msg_7", NOW, request["data"].decode())
    assert request["headers"]["webhook-signature"] == expected


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 422, 429, 500, 503])
async def test_whatever_is_not_2xx_is_tried_again(status: int) -> None:
    (outcome,) = await notifying(Wire(answered(status, b"why", retry_after=70.0))).notify([EVENT])
    assert outcome.error == f"answered {status}"
    assert (outcome.status, outcome.retry_after, outcome.response) == (status, 70.0, "why")
    assert not outcome.gone
    assert not outcome.permanent


async def test_410_is_gone() -> None:
    (outcome,) = await notifying(Wire(answered(410))).notify([EVENT])
    assert outcome.gone


async def test_what_the_receiver_says_is_kept_short() -> None:
    wire = Wire(answered(500, "é\x00".encode() * 20_000))
    (outcome,) = await notifying(wire).notify([EVENT])
    assert len(outcome.response) == 1000
    assert "\x00" not in outcome.response
    assert (wire.requests[0]["max_bytes"], wire.requests[0]["cut"]) == (16 * 1024, True)


@pytest.mark.parametrize(
    ("error", "retry_after", "unsent"),
    [
        (NotReady("no answer"), None, False),
        (RateLimited("slow down", retry_after=9), 9, False),
        (NotSent("resting", retry_after=30), 30, True),
        (AuthFailed("refused"), None, False),
    ],
)
async def test_what_the_client_raises_is_an_outcome(error: Exception, retry_after: float | None, unsent: bool) -> None:
    (outcome,) = await notifying(Wire(error)).notify([EVENT])
    assert outcome.error == str(error)
    assert (outcome.retry_after, outcome.unsent) == (retry_after, unsent)


async def test_check_asks_whether_anybody_answers() -> None:
    wire = Wire(answered(405))
    health = await create(WebhookConfig.model_validate({"notify": NOTIFY}), context(wire)).check()
    assert health.ok
    assert wire.requests[0]["method"] == "HEAD"
    wire.answer = NotReady("https://x.example: cannot connect")
    health = await create(WebhookConfig.model_validate({"notify": NOTIFY}), context(wire)).check()
    assert (health.ok, health.detail) == (False, "https://x.example: cannot connect")
