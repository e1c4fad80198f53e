"""The OpenAPI 3.1 document, made from the routes and their models: what is served is what is described."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from hub.web.problems import KINDS, MEDIA_TYPE, ProblemDetails
from hub.web.routes import Reply, Route

REF = "#/components/schemas/{model}"
Mode = Literal["validation", "serialization"]
Keyed = tuple[type[BaseModel], Mode]
Schemas = dict[Keyed, dict[str, Any]]

# What any call may answer, beside its own statuses.
ALWAYS = (500, 503)
GUARDED = (401, 403)

DESCRIPTION = """\
Documents in, cited answers out, and a log of every change.

Errors are problem JSON (RFC 9457): `code` is stable, `field` names what does not fit. A call with a key sends it as
`Authorization: Bearer aime_…` or `X-API-Key: aime_…`. A hub on a loopback address is open until a key is made."""


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The whole OpenAPI document."""
    schemas, definitions = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AI.me Hub",
            "version": version("aime-hub"),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {str(status): _problem(status, title) for status, title in _titles().items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }


def statuses(route: Route) -> tuple[int, ...]:
    """Every status that a call may answer with."""
    guarded = GUARDED if route.scope is not None else ()
    return tuple(sorted({*route.replies, *route.problems, *guarded, *ALWAYS}))


def _titles() -> dict[int, str]:
    """A title for each status: those of several kinds of error are named after the first."""
    titles: dict[int, str] = {410: "A version that was collected"}
    for kind in KINDS.values():
        titles.setdefault(kind.status, kind.title)
    return dict(sorted(titles.items()))


def _problem(status: int, title: str) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if status in {429, 503, 507}:
        headers["Retry-After"] = {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}}
    content = {MEDIA_TYPE: {"schema": {"$ref": REF.format(model=ProblemDetails.__name__)}}}
    return {"description": title, "content": content} | ({"headers": headers} if headers else {})


def _schemas(routes: Iterable[Route]) -> tuple[Schemas, dict[str, Any]]:
    wanted: dict[Keyed, None] = {(ProblemDetails, "serialization"): None}
    for route in routes:
        for model in (route.body, route.query):
            if model is not None:
                wanted[model, "validation"] = None
        for reply in route.replies.values():
            if reply.model is not None:
                wanted[reply.model, "serialization"] = None
    refs, definitions = models_json_schema(
        list(wanted), ref_template=REF, schema_generator=GenerateJsonSchema, by_alias=True
    )
    return {(model, mode): schema for (model, mode), schema in refs.items() if issubclass(model, BaseModel)}, (
        definitions["$defs"]
    )


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "tags": [route.tag],
        "operationId": route.handler.__name__,
        "parameters": _parameters(route),
        "responses": {str(status): _reply(reply, schemas) for status, reply in route.replies.items()}
        | {
            str(status): {"$ref": f"#/components/responses/{status}"}
            for status in statuses(route)
            if status not in route.replies
        },
        "security": [] if route.scope is None else [{"bearer": [route.scope]}, {"header": [route.scope]}],
    }
    if route.description:
        operation["description"] = route.description
    if route.body is not None:
        schema = schemas[route.body, "validation"]
        operation["requestBody"] = {"required": True, "content": {route.body_media: {"schema": schema}}}
    if not operation["parameters"]:
        del operation["parameters"]
    return operation


def _reply(reply: Reply, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": reply.description}
    if reply.media:
        schema = schemas[reply.model, "serialization"] if reply.model is not None else {}
        # A stream's schema is that of its lines or events, which no validator of whole answers can use.
        answer["content"] = {
            media: {"schema": schema if media.endswith("/json") else {"type": "string"}} for media in reply.media
        }
        if reply.model is not None and not any(media.endswith("/json") for media in reply.media):
            answer["x-item-schema"] = schema
    return answer


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            **({"description": route.path_notes[name]} if name in route.path_notes else {}),
        }
        for name in route.path_names
    ]
    if route.query is None:
        return parameters
    schema = route.query.model_json_schema(ref_template=REF)
    for name, described in schema["properties"].items():
        field = {key: value for key, value in described.items() if key != "description"}
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": _without_null(field),
                **({"description": described["description"]} if "description" in described else {}),
            }
        )
    return parameters


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out, never null."""
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) != 1:
        return schema
    kept = {key: value for key, value in schema.items() if key not in {"anyOf", "default", "title"}}
    return {**options[0], **kept}
