"""The paths that change the file; each answers with the state that it has then, and that is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.service import uploads
from edge_adapt.service.core import Service
from edge_adapt.service.looks import has_etag
from edge_adapt.service.state import state_json

Mine: TypeAlias = "Classifier | Regressor"


async def adapt(service: Service, request: Request) -> Response:
    uploads.query(request)
    by_field = await uploads.images_by_field(request)
    by, shots = await service.shots([image for images in by_field.values() for image in images])
    left = iter(shots)
    embedded = {field: [next(left) for _ in images] for field, images in by_field.items()}

    def change(mine: Mine) -> Mine:
        if isinstance(mine, Classifier):
            return mine.adapt_embedded(embedded)
        rows = [mine.row(field) for field, of_field in embedded.items() for _ in of_field]
        return mine.adapt_embedded(shots, rows)

    return await _edited(service, request, change, by)


async def add(service: Service, request: Request) -> Response:
    label = uploads.query(request, "label")["label"]
    if label is None:
        raise HTTPException(400, "the parameter label is missing; give the class or the value of the images.")
    by, shots = await service.shots(await uploads.images(request))
    return await _edited(service, request, partial(_taught, shots, label), by)


async def correct(service: Service, request: Request) -> Response:
    label, never = uploads.query(request, "label", "not").values()
    if (label is None) == (never is None):
        raise HTTPException(400, "give either label, which the image is of, or not, which it is not of.")
    by, shots = await service.shots([await uploads.one_image(request)])

    def change(mine: Mine) -> Mine:
        if isinstance(mine, Regressor) and label is not None:
            return _taught(shots, label, mine)
        classes = _of_classes(mine)
        if never is not None and never not in classes.labels:
            raise DataError(f"there is no class {never!r}; there are {', '.join(classes.labels)}.")
        return classes.correct_embedded(shots[0], label, never=never)

    return await _edited(service, request, change, by)


async def remove(service: Service, request: Request) -> Response:
    fields = await uploads.json_fields(request, {"label": str, "images": list}, ("label", "images"))
    label, names = fields.get("label"), fields.get("images", [])

    def change(mine: Mine) -> Mine:
        if isinstance(mine, Regressor):
            return mine.remove(*names)
        if label is None:
            raise DataError("no class is named; give the label of what is to be removed.")
        return mine.remove(label, *names)

    return await _edited(service, request, change)


async def rename(service: Service, request: Request) -> Response:
    fields = await uploads.json_fields(request, {"label": str, "name": str})
    return await _edited(service, request, lambda mine: _of_classes(mine).rename(fields["label"], fields["name"]))


async def merge(service: Service, request: Request) -> Response:
    fields = await uploads.json_fields(request, {"labels": list, "into": str})
    return await _edited(service, request, lambda mine: _of_classes(mine).merge(fields["labels"], fields["into"]))


async def undo(service: Service, request: Request) -> Response:
    return await _edited(service, request, lambda mine: mine.undo())


async def redo(service: Service, request: Request) -> Response:
    return await _edited(service, request, lambda mine: mine.redo())


async def _edited(
    service: Service, request: Request, change: Callable[[Any], Mine], by: Mine | None = None
) -> Response:
    wanted = request.headers.get("if-match")
    snapshot = await service.edited(change, None if wanted is None else partial(has_etag, wanted), by)
    state = await service.on_a_thread(partial(state_json, snapshot.mine))
    return JSONResponse(state, headers={"etag": snapshot.etag})


def _taught(shots: Sequence[EmbeddedImage], said: str, mine: Mine) -> Mine:
    if isinstance(mine, Regressor):
        return mine.add_embedded(shots, [mine.row(said)] * len(shots))
    return mine.add_embedded(said, shots)


def _of_classes(mine: Mine) -> Classifier:
    if isinstance(mine, Regressor):
        raise DataError("this reads values and has no classes; add or correct photos instead.")
    return mine
