"""What a request holds: images, JSON, numbers; what does not fit is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import HTTPConnection, Request

from edge_adapt.runtime.images.images import NamedImage, UnreadImage
from edge_adapt.service.guard import MOST_BYTES

_MOST_IMAGES = 1000
_MOST_JSON = 1024 * 1024
_FORM = "multipart/form-data"


def is_form(request: Request) -> bool:
    """Whether several images are sent, in a form."""
    return _content_type(request) == _FORM


async def one_image(request: Request) -> UnreadImage:
    """The image that is the body."""
    kind = _content_type(request)
    if not (kind.startswith("image/") or kind == "application/octet-stream"):
        raise HTTPException(415, f"a body of {kind[:100]!r} is no image; send Content-Type: image/jpeg, or what it is.")
    return image(await request.body())


def image(data: bytes) -> UnreadImage:
    """An encoded image that has no name."""
    return NamedImage("image", data, "the image")


async def images_by_field(request: Request) -> dict[str, list[UnreadImage]]:
    """The files of a form, which never touch the disk, by the names of their fields."""
    if not is_form(request):
        raise HTTPException(415, f"images by class are sent as {_FORM}, a field named as each class.")
    parser = MultiPartParser(request.headers, request.stream(), max_files=_MOST_IMAGES, max_fields=0)
    parser.spool_max_size = MOST_BYTES
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read ({error.message.rstrip('.')}); send files alone.") from error
    found: dict[str, list[UnreadImage]] = {}
    for field, file in form.multi_items():
        assert isinstance(file, UploadFile)
        name = file.filename or "image"
        found.setdefault(field, []).append(NamedImage(name, await file.read(), name))
    await form.close()
    if not found:
        raise HTTPException(400, "the form holds no image; send one file or more.")
    return found


async def images(request: Request) -> list[UnreadImage]:
    """One image, or all of a form."""
    if not is_form(request):
        return [await one_image(request)]
    return [image for of_field in (await images_by_field(request)).values() for image in of_field]


async def json_fields(request: Request, kinds: Mapping[str, type], optional: Sequence[str] = ()) -> dict[str, Any]:
    """The keys of a JSON object: texts, or lists of texts, none of them empty; the optional ones may be missing."""
    if _content_type(request) != "application/json":
        raise HTTPException(415, "the body is JSON here; send Content-Type: application/json.")
    body = await request.body()
    if len(body) > _MOST_JSON:
        raise HTTPException(413, f"more than {_MOST_JSON >> 20} MiB of JSON; send less.")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON; send one object.") from None
    if not isinstance(value, dict) or not set(value) <= set(kinds):
        raise HTTPException(400, f"the body is not an object with {', '.join(kinds)} alone; send that.")
    for key, kind in kinds.items():
        if key in optional and key not in value:
            continue
        given = value.get(key)
        texts = given if isinstance(given, list) else [given]
        sound = texts and all(isinstance(text, str) and text for text in texts)
        if not (isinstance(given, kind) and sound):
            raise HTTPException(400, f"{key} is missing, empty, or neither a text nor a list as is due; give it.")
    return value


def query(request: HTTPConnection, *names: str) -> dict[str, str | None]:
    """The parameters of the query, each given once at most, and no others."""
    for name in request.query_params:
        if name not in names or len(request.query_params.getlist(name)) > 1:
            raise HTTPException(400, f"the parameter {name[:100]!r} is not taken here, or twice; see /openapi.json.")
    values = {name: request.query_params.get(name) for name in names}
    for name, value in values.items():
        if value == "":
            raise HTTPException(400, f"the parameter {name} is empty; give it a value, or leave it out.")
    return values


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
