"""The description of the HTTP interface, which GET /openapi.json gives."""

from __future__ import annotations

from typing import Any

from edge_adapt.runtime import __version__

_TEXT = {"type": "string", "minLength": 1}
_NUMBER = {"type": "number"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": required | optional,
        "required": list(required),
        "additionalProperties": False,
    }


def _list(items: dict[str, Any], **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_IMAGE = {"name": {"type": "string"}, "sha256": {"type": "string"}}
_OF_ALL = {
    "kind": {"enum": ["classifier"]},
    "model": _TEXT,
    "steps": {"type": "integer"},
    "losses": _list(_NUMBER),
    "last_edit": _or_null(_TEXT) | {"description": "What undo takes back."},
    "undone": _or_null(_TEXT) | {"description": "What redo does again."},
}
_ESTIMATE = _object(
    {
        "accuracy": _SHARE,
        "interval": _list(_SHARE, minItems=2, maxItems=2),
        "right": {"type": "integer"},
        "left_out": {"type": "integer"},
        "uncovered": _list(_TEXT),
        "with_twice": _or_null(_SHARE),
    }
) | {"description": "The accuracy to expect, from shots that were left out."}

_SCHEMAS = {
    "Error": _object({"error": _TEXT}),
    "Classification": _object(
        {
            "image": {"type": "string"},
            "label": _TEXT,
            "confidence": _SHARE,
            "known": {"type": "boolean"},
            "familiarity": _or_null(_SHARE),
            "scores": {"type": "object", "additionalProperties": _SHARE},
        }
    ),
    "Reading": _object(
        {
            "image": {"type": "string"},
            "values": {"type": "object", "additionalProperties": _NUMBER},
            "intervals": {"type": "object", "additionalProperties": _list(_NUMBER, minItems=2, maxItems=2)},
        }
    ),
    "Answer": {"oneOf": [_ref("Classification"), _ref("Reading")]},
    "Unreadable": _object({"image": {"type": "string"}, "error": _TEXT}),
    "Answers": _object({"answers": _list({"oneOf": [_ref("Answer"), _ref("Unreadable")]})}),
    "ClassifierState": _object(
        _OF_ALL
        | {
            "classes": _list(_object({"label": _TEXT, "images": _list(_object(_IMAGE))})),
            "estimate": _or_null(_ESTIMATE),
        }
    ),
    "RegressorState": _object(
        _OF_ALL
        | {
            "kind": {"enum": ["regressor"]},
            "images": _list(_object(_IMAGE | {"values": {"type": "object", "additionalProperties": _NUMBER}})),
            "errors": {"type": "object", "additionalProperties": _object({"mean": _NUMBER, "bound": _NUMBER})},
        }
    ),
    "State": {"oneOf": [_ref("ClassifierState"), _ref("RegressorState")]},
    "Findings": _object(
        {
            "findings": _list(
                _object(
                    {
                        "kind": _TEXT,
                        "text": _TEXT,
                        "classes": _list({"type": "string"}),
                        "images": _list({"type": "string"}),
                    }
                )
            )
        }
    ),
    "Log": _object(
        {"edits": _list(_object({"at": {"type": "string"}, "what": {"type": "string"}, "done": {"type": "boolean"}}))}
    ),
    "Health": _object({"status": {"enum": ["ok"]}}),
    "Remove": _object({}, label=_TEXT, images=_list(_TEXT, minItems=1)),
    "Rename": _object({"label": _TEXT, "name": _TEXT}),
    "Merge": _object({"labels": _list(_TEXT, minItems=1), "into": _TEXT}),
}

_BINARY = {"type": "string", "format": "binary"}
_ETAG = {"ETag": {"description": "The SHA-256 of the file, in quotes.", "schema": {"type": "string"}}}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "Edit only the state with this ETag; the answer is 412 where it is another.",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The answer is 304, without a body, where the state has this ETag still.",
    "schema": {"type": "string"},
}


def _query(name: str, description: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "description": description, "schema": schema}


_LABEL = _query(
    "label",
    "The class, old or new, or `_other` for none; of a regressor the value, or several with commas between.",
    _TEXT,
)
_ONE = {"image/*": {"schema": _BINARY}, "application/octet-stream": {"schema": _BINARY}}
_SEVERAL = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"image": {"type": "array", "items": _BINARY}},
            "required": ["image"],
        }
    }
}
_BY_CLASS = {
    "multipart/form-data": {"schema": {"type": "object", "additionalProperties": {"type": "array", "items": _BINARY}}}
}


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(name)}}


def _operation(
    summary: str,
    answer: dict[str, Any],
    body: dict[str, Any] | None = None,
    parameters: tuple[dict[str, Any], ...] = (),
    *,
    etag: bool = False,
    open_to_all: bool = False,
) -> dict[str, Any]:
    """An operation whose failures are an Error with a status of the 4xx, or 503 where the file or the disk is at fault."""
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "Done.", "content": answer, **({"headers": _ETAG} if etag else {})},
            "4XX": {"description": "Refused, and why.", "content": _json("Error")},
            "503": {"description": "The file or the disk is at fault, and how.", "content": _json("Error")},
        },
    }
    if _IF_NONE_MATCH in parameters:
        operation["responses"]["304"] = {"description": "Unchanged."}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    if open_to_all:
        operation["security"] = []
    return operation


def _edit(summary: str, body: dict[str, Any] | None = None, *parameters: dict[str, Any]) -> dict[str, Any]:
    return {"post": _operation(summary, _json("State"), body, (*parameters, _IF_MATCH), etag=True)}


def _look(summary: str, answer: dict[str, Any]) -> dict[str, Any]:
    return {"get": _operation(summary, answer, parameters=(_IF_NONE_MATCH,), etag=True)}


_UNKNOWN_AT = _query(
    "unknown_at",
    "The share of images of the classes that may be taken for unknown; 0: every image is known.",
    {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "default": 0.05},
)

PATHS: dict[str, dict[str, Any]] = {
    "/classify": {
        "post": _operation(
            "Classify an image, or read its values; of several images, sent as a form, one answer each.",
            {"application/json": {"schema": {"oneOf": [_ref("Answer"), _ref("Answers")]}}},
            _ONE | _SEVERAL,
            (_UNKNOWN_AT,),
        )
    },
    "/classifier": _look("What it is: classes, images, losses, what to expect.", _json("State")),
    "/classifier.edge": _look("The file itself.", {"application/octet-stream": {"schema": _BINARY}}),
    "/classifier.task": _look(
        "What `edge-adapt pack` writes of it.", {"application/octet-stream": {"schema": _BINARY}}
    ),
    "/check": _look("What will cost accuracy, the worst first.", _json("Findings")),
    "/log": _look("The edits, the first to the last.", _json("Log")),
    "/adapt": _edit(
        "Adapt anew, to the images of this form alone; a field is named as the class or the value.", _BY_CLASS
    ),
    "/add": _edit("Add images of a class or a value.", _ONE | _SEVERAL, _LABEL | {"required": True}),
    "/correct": _edit(
        "Learn from a mistake: give the class or value that the image is of, or one class that it is not.",
        _ONE,
        _LABEL,
        _query("not", "Instead of the class, one that it is not.", _TEXT),
    ),
    "/remove": _edit("Remove a class, or the images that are named so or whose SHA-256 begins so.", _json("Remove")),
    "/rename": _edit("Give a class another name.", _json("Rename")),
    "/merge": _edit("Make one class of several.", _json("Merge")),
    "/undo": _edit("Take the last edit back."),
    "/redo": _edit("Do again what was undone."),
    "/health": {"get": _operation("Whether it can answer.", _json("Health"), open_to_all=True)},
    "/metrics": {
        "get": _operation("Counts and times, for Prometheus.", {"text/plain": {"schema": {"type": "string"}}})
    },
    "/openapi.json": {"get": _operation("This text.", {"application/json": {"schema": {"type": "object"}}})},
}


def openapi() -> dict[str, Any]:
    """OpenAPI 3.1; of the WebSocket /stream it can only tell in words."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-adapt serve",
            "version": __version__,
            "description": "A classifier or a regressor in a file, answered for and edited. An error is one sentence in JSON. "
            "WebSocket /stream: each binary message is an encoded image, and gets an Answer or an Error as a text message, in "
            "order; its query is that of /classify. A browser, which can send no header there, offers the subprotocols `bearer` "
            "and the token.",
        },
        "security": [{"token": []}],
        "paths": PATHS,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
