from __future__ import annotations

import inspect
import json

import pytest

from core import errors
from hub.web import problems
from hub.web.problems import details, respond

PUBLIC = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.AimeError)]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.InvalidInput("is wrong", field="a.b"), 422, "invalid_input"),
        (errors.InvalidDocument("is wrong", field="content"), 422, "invalid_document"),
        (errors.ContentTooLarge("is too large", field="content"), 413, "content_too_large"),
        (errors.InvalidQuery("is wrong"), 422, "invalid_query"),
        (problems.Malformed("is no JSON"), 400, "malformed_body"),
        (errors.Unauthorized("no"), 401, "unauthorized"),
        (errors.VerificationFailed("no"), 401, "verification_failed"),
        (errors.Forbidden("no"), 403, "forbidden"),
        (errors.NotFound("no"), 404, "not_found"),
        (problems.MethodNotAllowed("PUT", frozenset({"GET"})), 405, "method_not_allowed"),
        (errors.VersionUnavailable("collected", collected=True), 410, "version_unavailable"),
        (errors.VersionUnavailable("not written yet"), 422, "version_unavailable"),
        (errors.QueueFull("full"), 429, "queue_full"),
        (errors.Busy("busy"), 503, "busy"),
        (errors.VersionTimeout("not yet"), 503, "version_timeout"),
        (errors.StoreUnavailable("read-only"), 503, "store_unavailable"),
        (errors.StoreFull("full"), 507, "store_full"),
        (errors.NotReady("down"), 503, "not_ready"),
        (errors.AuthFailed("no"), 502, "auth_failed"),
    ],
)
def test_the_class_of_an_error_decides_its_status(error: errors.AimeError, status: int, code: str) -> None:
    problem = details(error, "r-1")
    assert (problem.status, problem.code, problem.instance) == (status, code, "urn:aime:request:r-1")


@pytest.mark.parametrize("error", [e for e in PUBLIC if e is not errors.AimeError], ids=lambda e: e.__name__)
def test_no_public_error_is_an_internal_one(error: type[errors.AimeError]) -> None:
    kinds = [problems.KINDS[cls] for cls in error.__mro__ if cls in problems.KINDS]
    assert kinds[0].status != 500


def test_a_problem_names_the_field_and_the_document() -> None:
    answer = respond(errors.InvalidDocument("is no date", field="metadata.published_at", document_id="cms-1"), "r-1")
    assert answer.content_type == "application/problem+json"
    assert json.loads(answer.body or b"") == {
        "type": "/docs#problem-invalid_document",
        "title": "Invalid document",
        "status": 422,
        "detail": "is no date",
        "code": "invalid_document",
        "field": "metadata.published_at",
        "document_id": "cms-1",
        "instance": "urn:aime:request:r-1",
    }


def test_an_unexpected_error_says_nothing_about_the_insides() -> None:
    answer = respond(KeyError("/var/lib/secret"), "r-1")
    assert answer.status == 500
    assert b"secret" not in (answer.body or b"")


def test_a_secret_in_a_message_is_not_answered() -> None:
    answer = respond(errors.InvalidInput("cannot use https://user:hunter2@example.com"), "r-1")
    assert b"hunter2" not in (answer.body or b"")


def test_what_utf8_cannot_carry_is_escaped() -> None:
    answer = respond(errors.InvalidInput("is wrong: \ud800", field="metadata.\udfff"), "r-1")
    assert json.loads(answer.body or b"")["field"] == "metadata.\\udfff"


@pytest.mark.parametrize(
    ("error", "header", "value"),
    [
        (errors.QueueFull("full", retry_after=0.2), "Retry-After", "1"),
        (errors.Busy("busy", retry_after=2.5), "Retry-After", "3"),
        (errors.StoreFull("full"), "Retry-After", "10"),
        (errors.NotReady("down"), "Retry-After", "2"),
        (errors.Unauthorized("no"), "WWW-Authenticate", 'Bearer realm="aime"'),
        (problems.MethodNotAllowed("PUT", frozenset({"POST", "GET"})), "Allow", "GET, POST"),
    ],
)
def test_a_problem_carries_the_header_that_its_status_asks_for(error: Exception, header: str, value: str) -> None:
    assert respond(error, "r-1").headers[header] == value
