from __future__ import annotations

import json
import re
from typing import Any

import pytest

from hub.web import ROUTES, openapi, page
from hub.web.problems import KINDS
from hub.web.routes import Route

SPEC = openapi.document(ROUTES)
PAGES = page.render(ROUTES)


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = SPEC["paths"][route.template][route.method.lower()]
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.template}")
def test_every_route_is_described_with_its_scope_its_parameters_and_its_problems(route: Route) -> None:
    described = operation(route)
    assert described["summary"]
    assert bool(described["security"]) == (route.scope is not None)
    names = {parameter["name"] for parameter in described.get("parameters", ())}
    assert set(route.path_names) <= names
    assert {int(status) for status in described["responses"]} == set(openapi.statuses(route))


def test_nothing_is_described_that_is_not_served() -> None:
    described = {(method.upper(), path) for path, methods in SPEC["paths"].items() for method in methods}
    assert described == {(route.method, route.template) for route in ROUTES}


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation(route)["operationId"] for route in ROUTES]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(SPEC)
    for kind, name in set(re.findall(r'"#/components/(\w+)/([^"]+)"', text)):
        assert name in SPEC["components"][kind], name


def test_every_schema_with_a_model_says_what_it_is() -> None:
    for name in ("Answer", "ProcessResult", "ProblemDetails", "DocumentState", "BatchResult", "ChangePage"):
        assert SPEC["components"]["schemas"][name]["description"], name


def test_the_page_shows_every_route_every_schema_and_every_problem() -> None:
    text = PAGES.page.decode()
    for route in ROUTES:
        assert f"<code>{route.template}</code>" in text
    for name in SPEC["components"]["schemas"]:
        assert f'id="schema-{name}"' in text
    for error in KINDS:
        assert f'id="problem-{error.code}"' in text


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = PAGES.page.decode()
    assert not re.search(r"<(script|link|img|iframe)|src=|@import|url\(|style=", text)
    assert "default-src 'none'" in PAGES.policy
    assert set(re.findall(r'href="([^"#]+)', text)) == {"/openapi.json"}


def test_every_link_within_the_page_leads_somewhere() -> None:
    text = PAGES.page.decode()
    ids = re.findall(r'id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
