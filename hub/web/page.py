"""The page at `/docs`: the OpenAPI document, for people. One HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hub.web import openapi
from hub.web.problems import COLLECTED, KINDS
from hub.web.routes import Pages, Route

Schema = dict[str, Any]


def render(routes: Sequence[Route]) -> Pages:
    """The OpenAPI document and its page."""
    import jinja2  # of all hubs, few are asked for the page

    spec = openapi.document(routes)
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("hub.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"type_of": type_of, "model_of": model_of}
    style = templates.get_template("docs.css").render()
    page = templates.get_template("docs.html").render(
        spec=spec, style=style, problems=problem_list(), groups=_by_tag(spec)
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Pages(json.dumps(spec, ensure_ascii=False).encode(), page.encode(), policy)


def problem_list() -> list[dict[str, Any]]:
    """Every code that a problem may have, with its status and what it means."""
    found = {
        (kind.status, error.code): {
            "code": error.code,
            "status": kind.status,
            "title": kind.title,
            "text": " ".join((error.__doc__ or "").split()),
        }
        for error, kind in KINDS.items()
    }
    gone = {**found[422, "version_unavailable"], "status": COLLECTED.status, "title": COLLECTED.title}
    found[COLLECTED.status, "version_unavailable"] = gone
    return [found[key] for key in sorted(found)]


def _by_tag(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in spec["tags"]}
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            groups[operation["tags"][0]].append({**operation, "method": method.upper(), "path": path})
    return groups


def model_of(schema: Schema) -> str:
    """The name of the component that a schema is, or is a list of; empty when it is neither."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    return next((name for part in _parts(schema) if (name := model_of(part))), "")


def _parts(schema: Schema) -> list[Schema]:
    parts = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    items = schema.get("items")
    return [*parts, items] if isinstance(items, dict) else parts


def type_of(schema: Schema) -> str:
    """A schema in a few words, such as `string or null` or `array of Source`."""
    if "$ref" in schema:
        return model_of(schema)
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    if options:
        return " or ".join(dict.fromkeys(type_of(option) for option in options))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {type_of(schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
