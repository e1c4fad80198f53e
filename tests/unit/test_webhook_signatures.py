"""Signing and verifying webhooks, against the published vector, the reference library, and hostile requests."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook

from core.errors import InvalidInput, VerificationFailed
from hub.sdk.contract import Notification
from hub.sdk.webhooks import HmacScheme, HmacWebhook, StandardWebhook, render

# The vector that the Standard Webhooks libraries share.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

OTHER = "whsec_" + base64.b64encode(b"another secret of thirty-2 bytes").decode()


def keys(*secrets: str) -> list[SecretStr]:
    return [SecretStr(secret) for secret in secrets]


def signed(*secrets: str, body: bytes = BODY, at: datetime = SENT) -> dict[str, str]:
    return StandardWebhook(keys(*secrets)).sign(MESSAGE_ID, at, body)


# ---------------------------------------------------------------- Standard Webhooks


def test_it_makes_the_published_signature() -> None:
    assert signed(SECRET) == {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_it_makes_the_signature_that_the_scheme_describes() -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = hmac.new(key, f"{MESSAGE_ID}.1614265330.".encode() + BODY, hashlib.sha256).digest()
    assert signed(SECRET)["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


def test_the_reference_library_accepts_what_it_signs() -> None:
    headers = signed(SECRET, at=datetime.now(UTC))
    assert Webhook(SECRET).verify(BODY, headers) == {"test": 2432232314}


def test_the_zone_of_the_timestamp_does_not_matter() -> None:
    assert signed(SECRET, at=SENT.astimezone(timezone(timedelta(hours=9)))) == signed(SECRET)


def test_a_secret_needs_no_prefix_and_no_padding() -> None:
    bare = OTHER.removeprefix("whsec_")
    assert signed(bare) == signed(OTHER) == signed(bare.rstrip("="))


def test_during_a_rotation_either_secret_verifies() -> None:
    both = signed(OTHER, SECRET)
    for secret in (SECRET, OTHER):
        StandardWebhook(keys(secret)).verify(both, BODY, now=SENT)
        StandardWebhook(keys(OTHER, SECRET)).verify(signed(secret), BODY, now=SENT)


def test_signatures_of_other_versions_are_passed_over() -> None:
    headers = signed(SECRET)
    headers["webhook-signature"] = f"v1a,abc v2,def {headers['webhook-signature']} v1"
    StandardWebhook(keys(SECRET)).verify(headers, BODY, now=SENT)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    headers = signed(SECRET)
    del headers[name]
    with pytest.raises(VerificationFailed, match=name):
        StandardWebhook(keys(SECRET)).verify(headers, BODY, now=SENT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg_other"),
        ("webhook-timestamp", "1614265331"),
        ("webhook-signature", "v1," + base64.b64encode(bytes(32)).decode()),
    ],
)
def test_a_changed_header_does_not_verify(name: str, value: str) -> None:
    with pytest.raises(VerificationFailed, match="no signature"):
        StandardWebhook(keys(SECRET)).verify({**signed(SECRET), name: value}, BODY, now=SENT)


def test_a_changed_body_or_another_secret_does_not_verify() -> None:
    for secret, body in ((SECRET, BODY + b" "), (OTHER, BODY)):
        with pytest.raises(VerificationFailed, match="no signature"):
            StandardWebhook(keys(secret)).verify(signed(SECRET), body, now=SENT)


def test_a_timestamp_is_believed_within_the_tolerance_only() -> None:
    webhook = StandardWebhook(keys(SECRET), tolerance=timedelta(seconds=10))
    for seconds in (-10, 10):
        webhook.verify(signed(SECRET), BODY, now=SENT + timedelta(seconds=seconds))
    with pytest.raises(VerificationFailed, match="too old"):
        webhook.verify(signed(SECRET), BODY, now=SENT + timedelta(seconds=11))
    with pytest.raises(VerificationFailed, match="too new"):
        webhook.verify(signed(SECRET), BODY, now=SENT - timedelta(seconds=11))


@pytest.mark.parametrize(
    "value", ["", "now", "1614265330.5", "-1614265330", "01614265330", "9" * 500, "١٦١٤٢٦٥٣٣٠", "nan"]
)
def test_a_timestamp_in_another_form_does_not_verify(value: str) -> None:
    with pytest.raises(VerificationFailed, match="webhook-timestamp"):
        StandardWebhook(keys(SECRET)).verify({**signed(SECRET), "webhook-timestamp": value}, BODY, now=SENT)


def test_a_body_that_is_not_utf8_does_not_verify() -> None:
    with pytest.raises(VerificationFailed, match="UTF-8"):
        StandardWebhook(keys(SECRET)).verify(signed(SECRET), b"\xff\xfe", now=SENT)


HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec=None)),  # with lone surrogates, as aiohttp hands over odd bytes
    st.lists(st.sampled_from(["v1", "v1,", ",", "v1,=", "v1,é", "v1,AAAA", "v1a,x"]), max_size=40).map(" ".join),
)


@given(message_id=HOSTILE, timestamp=HOSTILE | st.just("1614265330"), signature=HOSTILE, body=st.binary())
def test_hostile_requests_fail_to_verify_and_nothing_else(
    message_id: str, timestamp: str, signature: str, body: bytes
) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    with pytest.raises(VerificationFailed):
        StandardWebhook(keys(SECRET)).verify(headers, body, now=SENT)


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!", "whsec_ü", "a"])
def test_a_secret_that_is_not_base64_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        StandardWebhook(keys(secret))
    assert caught.value.field == "secret"
    assert caught.value.reason == "must be base64, with or without whsec_ before it"


def test_no_secret_at_all_is_refused() -> None:
    with pytest.raises(InvalidInput):
        StandardWebhook([])
    with pytest.raises(InvalidInput):
        HmacWebhook([], HmacScheme())


# ---------------------------------------------------------------- generic HMAC


@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha256="])
def test_generic_hmac_verifies_in_every_form(algorithm: str, encoding: str, prefix: str) -> None:
    mac = hmac.new(b"key", b"\xff raw", algorithm).digest()
    text = mac.hex() if encoding == "hex" else base64.b64encode(mac).decode()
    scheme = HmacScheme("X-Signature", algorithm, encoding, prefix)  # type: ignore[arg-type]  # parametrized literals
    webhook = HmacWebhook(keys("old", "key"), scheme)
    webhook.verify({"x-signature": prefix + text}, b"\xff raw", now=SENT)
    for wrong in (text[:-2], "", prefix, prefix + "0" * len(text), "md5=" + text):
        with pytest.raises(VerificationFailed, match="(?i)x-signature"):
            webhook.verify({"x-signature": wrong}, b"\xff raw", now=SENT)
    with pytest.raises(VerificationFailed):
        webhook.verify({"x-signature": prefix + text}, b"\xff rav", now=SENT)


def test_the_vector_of_githubs_documentation_verifies() -> None:
    scheme = HmacScheme("X-Hub-Signature-256", "sha256", "hex", "sha256=")
    webhook = HmacWebhook(keys("It's a Secret to Everybody"), scheme)
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    webhook.verify({"x-hub-signature-256": signature}, b"Hello, World!", now=SENT)
    assert webhook.sign(b"Hello, World!") == {"X-Hub-Signature-256": signature}


@given(value=HOSTILE, body=st.binary(), encoding=st.sampled_from(["hex", "base64"]))
def test_hostile_hmac_headers_fail_to_verify_and_nothing_else(value: str, body: bytes, encoding: str) -> None:
    scheme = HmacScheme("x-sig", "sha256", encoding)  # type: ignore[arg-type]  # a sampled literal
    with pytest.raises(VerificationFailed):
        HmacWebhook(keys("key"), scheme).verify({"x-sig": value}, body, now=SENT)


# ---------------------------------------------------------------- wire forms


NOTIFICATION = Notification(
    id="msg_1",
    type="document.processed",
    timestamp=SENT,
    data={
        "type": "document.processed",
        "timestamp": "2021-02-25T15:02:10.000Z",
        "document_id": "cms-1",
        "status": "processed",
        "graph_version": 17,
        "source": "cms",
    },
)


def test_the_flat_form_puts_everything_on_one_level() -> None:
    content_type, body = render(NOTIFICATION)
    assert content_type == "application/json"
    assert json.loads(body) == {
        "type": "document.processed",
        "timestamp": "2021-02-25T15:02:10.000Z",
        "document_id": "cms-1",
        "status": "processed",
        "graph_version": 17,
        "source": "cms",
    }


def test_the_standard_form_nests_it_under_data() -> None:
    content_type, body = render(NOTIFICATION, "standard")
    assert content_type == "application/json"
    assert json.loads(body) == {
        "type": "document.processed",
        "timestamp": "2021-02-25T15:02:10.000Z",
        "data": {"document_id": "cms-1", "status": "processed", "graph_version": 17, "source": "cms"},
    }


def test_the_cloudevents_form_is_a_structured_event() -> None:
    content_type, body = render(NOTIFICATION, "cloudevents")
    assert content_type == "application/cloudevents+json"
    assert json.loads(body) == {
        "specversion": "1.0",
        "id": "msg_1",
        "source": "urn:aime:hub",
        "type": "document.processed",
        "time": "2021-02-25T15:02:10.000Z",
        "subject": "cms-1",
        "datacontenttype": "application/json",
        "data": {"document_id": "cms-1", "status": "processed", "graph_version": 17, "source": "cms"},
    }
