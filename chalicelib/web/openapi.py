"""The OpenAPI 3.1 document, made from the routes' declarations and their pydantic models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from chalicelib.errors import SightloopError
from chalicelib.web.api import Media, Operation
from chalicelib.web.problems import MEDIA_TYPE, ProblemDocument

REFERENCE = "#/components/schemas/{model}"
DESCRIPTION = (
    "Send an image, get boxes. Boxes are in pixels of the upright original. "
    "Every failure is an RFC 9457 problem document."
)

Schema = dict[str, Any]


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
        methods = paths.setdefault(operation.path, {})
        methods[operation.method.lower()] = described
        if operation.head:
            methods["head"] = _head(described)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sightloop",
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "AGPL-3.0-only", "identifier": "AGPL-3.0-only"},
        },
        "servers": [{"url": "."}],
        "tags": [{"name": tag} for tag in dict.fromkeys(o.tag for o in listed)],
        "paths": paths,
        "components": {"schemas": schemas},
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


def _schemas(operations: list[Operation]) -> tuple[dict[Any, Schema], Schema]:
    pairs: list[tuple[type[BaseModel], JsonSchemaMode]] = [(ProblemDocument, "serialization")]
    for operation in operations:
        pairs.extend(_models(operation))
    references, top = models_json_schema(list(dict.fromkeys(pairs)), ref_template=REFERENCE)
    return dict(references), top["$defs"]


def _operation(operation: Operation, references: dict[Any, Schema]) -> Schema:
    described: Schema = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "operationId": re.sub(r"\W+", "_", f"{operation.method}{operation.path}").strip("_"),
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": {
            **{
                str(status): {
                    "description": getattr(answer, "description", "") or operation.summary,
                    "content": _content(answer, "serialization", references),
                }
                for status, answer in operation.answers.items()
            },
            **_problems(operation.errors, references),
        },
    }
    if operation.body is not None:
        content = _content(operation.body, "validation", references)
        described["requestBody"] = {"required": True, "content": content}
    return described


def _head(described: Schema) -> Schema:
    """Describe the same without bodies."""
    answers = {
        status: {"description": answer["description"]}
        for status, answer in described["responses"].items()
    }
    identifier = re.sub("^GET", "HEAD", described["operationId"])
    return {**described, "operationId": identifier, "responses": answers}


def _content(
    part: type[BaseModel] | Media, mode: JsonSchemaMode, references: dict[Any, Schema]
) -> Schema:
    media = part if isinstance(part, Media) else Media({"application/json": part})

    def described(schema: Any) -> Any:
        if isinstance(schema, tuple):
            return {"anyOf": [described(one) for one in schema]}
        return references[schema, mode] if isinstance(schema, type) else schema

    return {kind: {"schema": described(schema)} for kind, schema in media.types.items()}


def _problems(errors: tuple[type[SightloopError], ...], references: dict[Any, Schema]) -> Schema:
    by_status: dict[int, list[type[SightloopError]]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error)
    schema = references[ProblemDocument, "serialization"]
    return {
        str(status): {
            "description": ", ".join(error.title for error in kinds),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, kinds in sorted(by_status.items())
    }


def _path_parameters(operation: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[Schema]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=REFERENCE)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", []),
            "schema": {k: v for k, v in described.items() if k != "title"},
        }
        for name, described in schema["properties"].items()
    ]
