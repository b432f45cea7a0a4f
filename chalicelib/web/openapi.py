"""The OpenAPI 3.1 document, made from the routes' declarations and their pydantic models."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from chalicelib.errors import SightloopError, Unauthorized
from chalicelib.web.api import CORRELATION_HEADER, Media, Operation
from chalicelib.web.once import KEY_HEADER, LONGEST_KEY, REPLAYED_HEADER, VISIBLE
from chalicelib.web.problems import MEDIA_TYPE, ProblemDocument, example

REFERENCE = "#/components/schemas/{model}"
DESCRIPTION = (
    "Send an image, get boxes. Boxes are in pixels of the upright original. Every failure is an "
    "RFC 9457 problem document, and every answer names its request in X-Correlation-Id. Where "
    "there is a GET there is a HEAD."
)
TAGS = {
    "detections": "Boxes at once, for images of up to about 4.5 MB.",
    "predictions": "Boxes by way of an upload, for larger images and for callers who can wait.",
    "submissions": "Boxes corrected by people, and what becomes of them.",
    "deletion": "Photos deleted by whoever sent them, with all that came of them.",
    "models": "Which models there are, what they find, and how well.",
    "review": "Second looks: images of ours for all; what waits, and contributors, for operators.",
    "trust": "Who is banned, and what was decided: for operators.",
    "datasets": "What models are trained on: facts, images, versions to name; ZIPs in and out.",
    "training": "What is trained, why and how far; versions side by side; buttons for operators.",
    "bot": "The Telegram bot, whose updates Telegram alone may send.",
    "service": "The service itself.",
}
SECURITY = {
    "user": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "Names who calls; without it, who calls is the address of the call.",
    },
    "operator": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of an operator.",
    },
}
HEADERS = {
    "Authenticate": {
        "description": "how to say who you are",
        "schema": {"type": "string", "const": "Bearer"},
    },
    "CorrelationId": {
        "description": "names this request in our log; sent along with a request, it is kept",
        "schema": {"type": "string"},
    },
    "IdempotencyReplayed": {
        "description": "true: this is the answer that the first call with the key got",
        "schema": {"type": "string", "const": "true"},
    },
    "RetryAfter": {
        "description": "seconds after which the same request may succeed",
        "schema": {"type": "integer"},
    },
}
IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "A UUID of your own. Sent again within 24 hours, the call has no second effect "
    "and is answered as the first time; where keys cannot be looked up, it is refused by 503 and "
    "nothing is done. At least 16 characters without a token.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": VISIBLE},
}

Schema = dict[str, Any]
References = dict[Any, Schema]


def document(operations: Iterable[Operation], version: str) -> Schema:
    """Describe the routes.

    Parameters
    ----------
    operations : iterable of Operation
    version : str
        Of the API.
    """
    listed = [operation for operation in operations if operation.documented]
    references, schemas = _schemas(listed)
    paths: dict[str, Schema] = {}
    for operation in listed:
        described = _operation(operation, references)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sightloop",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": name, "description": told} for name, told in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas, "headers": HEADERS, "securitySchemes": SECURITY},
    }


def _models(operation: Operation) -> Iterable[tuple[type[BaseModel], JsonSchemaMode]]:
    """Yield every model of a route and whether it goes in or comes out."""
    for answer in operation.answers.values():
        yield from ((model, "serialization") for model in _models_in(answer))
    if operation.body is not None:
        yield from ((model, "validation") for model in _models_in(operation.body))


def _models_in(part: type[BaseModel] | Media) -> list[type[BaseModel]]:
    if not isinstance(part, Media):
        return [part]
    nested = [s if isinstance(s, tuple) else (s,) for s in part.types.values()]
    return [schema for group in nested for schema in group if isinstance(schema, type)]


def _schemas(operations: list[Operation]) -> tuple[References, Schema]:
    pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemDocument, "serialization")]
    for operation in operations:
        pairs.extend(_models(operation))
    references, top = models_json_schema(list(dict.fromkeys(pairs)), ref_template=REFERENCE)
    return dict(references), top["$defs"]


def _operation(operation: Operation, references: References) -> Schema:
    described: Schema = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "operationId": _camel_case(operation.handler.__name__),
        "parameters": [
            *_path_parameters(operation),
            *_query_parameters(operation),
            *([IDEMPOTENCY_KEY] if operation.takes_a_key else []),
        ],
        "responses": {
            **_answers(operation, references),
            **_problems(operation.all_errors(), references),
        },
    }
    if operation.asks_who_calls:
        described["security"] = (
            [{"operator": []}] if operation.operators_only else [{}, {"user": []}]
        )
    if operation.body is not None:
        content = _content(operation.body, "validation", references)
        described["requestBody"] = {"required": True, "content": content}
    return described


def _camel_case(name: str) -> str:
    """Return the name as generated clients like it.

    >>> _camel_case("list_models")
    'listModels'
    """
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def _answers(operation: Operation, references: References) -> Schema:
    described: Schema = {}
    replayed = {REPLAYED_HEADER: _header("IdempotencyReplayed")}
    for status, answer in operation.answers.items():
        media = answer if isinstance(answer, Media) else Media({"application/json": answer})
        described[str(status)] = {
            "description": media.description or _first_sentence(_models_in(media)),
            "headers": {
                CORRELATION_HEADER: _header("CorrelationId"),
                **(replayed if operation.takes_a_key else {}),
                **{
                    name: {"description": told, "schema": {"type": "string"}}
                    for name, told in media.headers.items()
                },
            },
        }
        if media.types:
            described[str(status)]["content"] = _content(media, "serialization", references)
        if media.links:
            described[str(status)]["links"] = dict(media.links)
    return described


def _first_sentence(models: list[type[BaseModel]]) -> str:
    return (models[0].__doc__ or "").split("\n")[0].rstrip(".")


def _header(name: str) -> Schema:
    return {"$ref": f"#/components/headers/{name}"}


def _content(part: type[BaseModel] | Media, mode: JsonSchemaMode, references: References) -> Schema:
    media = part if isinstance(part, Media) else Media({"application/json": part})

    def described(schema: Any) -> Any:
        if isinstance(schema, tuple):
            return {"anyOf": [described(one) for one in schema]}
        return references[schema, mode] if isinstance(schema, type) else schema

    return {kind: {"schema": described(schema)} for kind, schema in media.types.items()}


def _problems(errors: tuple[type[SightloopError], ...], references: References) -> Schema:
    by_status: dict[int, list[type[SightloopError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    return {
        str(status): _problem(kinds, references[ProblemDocument, "serialization"])
        for status, kinds in sorted(by_status.items())
    }


def _problem(kinds: list[type[SightloopError]], schema: Schema) -> Schema:
    """Describe what a status may mean, with an example of each kind."""
    headers = {CORRELATION_HEADER: _header("CorrelationId")}
    if Unauthorized in kinds:
        headers["WWW-Authenticate"] = _header("Authenticate")
    if any(kind.retry for kind in kinds):
        headers["Retry-After"] = _header("RetryAfter")
    examples = {
        kind.type_uri().rpartition(":")[2]: {
            "summary": kind.title,
            "value": example(kind).model_dump(mode="json", exclude_none=True),
        }
        for kind in kinds
    }
    return {
        "description": ", ".join(dict.fromkeys(kind.title for kind in kinds)),
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _path_parameters(operation: Operation) -> list[Schema]:
    """Describe the path's parameters as the handler's annotations do."""
    annotations = typing.get_type_hints(operation.handler, include_extras=True)
    return [
        _parameter(name, "path", True, TypeAdapter(annotations[name]).json_schema())
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[Schema]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=REFERENCE)
    return [
        _parameter(name, "query", name in schema.get("required", []), _said(described))
        for name, described in schema["properties"].items()
    ]


def _said(described: Schema) -> Schema:
    """Describe what an address can say: null is not among it, but is what is left out."""
    kinds = [kind for kind in described.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return described
    others = {k: told for k, told in described.items() if (k, told) != ("default", None)}
    del others["anyOf"]
    return {**kinds[0], **others}


def _parameter(name: str, place: str, required: bool, described: Schema) -> Schema:
    schema = {key: told for key, told in described.items() if key not in ("title", "description")}
    parameter: Schema = {"name": name, "in": place, "required": required, "schema": schema}
    if "description" in described:
        parameter["description"] = described["description"]
    return parameter
