"""Which bundled model suits some images: the one for what they look like, or one that is clearly better at shots left out.

Looks tell line drawings from photos. A grey line drawing is thin strokes on a sheet. Four things tell it from a photo, even from
a grey one: once the sheet's own colour is divided out, hardly a pixel has a hue; once the strokes are painted over with what
surrounds them, an even sheet is left; nearly all pixels are either as light as the sheet or ink; and marks as thick as objects
are of one tone, without shadows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut, leave_one_out
from edge_adapt.runtime.classifier.support import SupportSet
from edge_adapt.runtime.errors import BundleError, ImageError
from edge_adapt.runtime.folder_evaluation import embed_support, without_bad
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.folders import ImageFile, open_folder
from edge_adapt.runtime.images.images import ImageSource, named
from edge_adapt.runtime.model import MetaModel, load_model, models
from edge_adapt.runtime.sessions import Provider

DRAWINGS, PHOTOS = "characters", "photos"
"""The models that are chosen between; a smaller one, which is hardly ever the better one, is taken by its name."""

_SIDE = 128  # pixels of the longer side that an image is judged at
_HUE = 0.16  # how far a pixel's channels may be apart, of the sheet's brightness, and still be grey
_STROKE = 0.2  # wider than this, of the longer side, is no stroke
_THICK = 0.05  # wider than this may be an object
_INK, _BARE = 0.6, 0.9  # of the sheet's brightness: darker than the first is ink, lighter than the second is bare
_MARK = 0.75  # darker than this, halfway over the rims of strokes, is a mark or an object
_VOTERS = 15

_BEYOND_NOISE = 2.0  # standard errors; as much, by chance alone, one time of forty
_MOST_OF_A_SHOT = (
    3.0  # nats that one shot can speak for a model: one that it takes for certain, and wrongly, is not all
)


@dataclass(frozen=True, eq=False)
class Choice:
    """A bundled model for a support set.

    Attributes:
        name: of the model.
        model: it, ready to adapt.
        images: the support set as it embeds it, for `MetaModel.adapt_embedded`.
        suggested: the model that the looks of the images suggest.
        leave_one_out: of each of `candidates`, the share of shots that it has right when they are left out, the chosen one first;
            empty where no class has two shots, or there is only one.
    """

    name: str
    model: MetaModel
    images: Mapping[str, Sequence[EmbeddedImage]]
    suggested: str
    leave_one_out: Mapping[str, float] = field(default_factory=dict)


def candidates() -> list[str]:
    """Those of the models that are chosen between which come with this edge-adapt."""
    return [name for name in (PHOTOS, DRAWINGS) if name in models()]


def choose_model(
    path: str | os.PathLike[str],
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
    steps: int | None = None,
    skip_bad: bool = False,
) -> Choice:
    """The bundled model for the support set in a folder or zip with one sub-folder a class, which each model embeds once.

    What the images look like decides, unless leaving out one shot at a time speaks against it, see `overruled`.

    Args:
        path: the folder or zip.
        provider, threads: as `load_model` takes them.
        progress, steps, skip_bad: as `embed_support` takes them.

    Raises:
        DataError, ImageError: as `open_folder` and `embed_support`.
        BundleError: as `suggest_model`.
    """
    folder = open_folder(path)
    suggested = suggest_model([file for files in folder.classes.values() for file in files])
    opened: dict[str, MetaModel] = {}
    images: dict[str, dict[str, list[EmbeddedImage]]] = {}
    for name in (suggested, *(name for name in candidates() if name != suggested)):
        opened[name] = load_model(name, provider, threads)
        images[name] = embed_support(opened[name], folder, progress, steps, skip_bad)
        folder = without_bad(folder, images[name])  # what is skipped is said once
        if all(len(files) == 1 for files in folder.classes.values()):  # no shot to leave out
            break
    if len(opened) == 1:
        return Choice(suggested, opened[suggested], images[suggested], suggested)
    evidence = {name: _left_out(model, images[name]) for name, model in opened.items()}
    chosen = overruled(suggested, {name: found.log_probabilities for name, found in evidence.items()})
    order = sorted(opened, key=lambda name: name != chosen)
    accuracies = {name: float(evidence[name].right.mean()) for name in order}
    return Choice(chosen, opened[chosen], images[chosen], suggested, accuracies)


def _left_out(model: MetaModel, images: Mapping[str, Sequence[EmbeddedImage]]) -> LeaveOneOut:
    support = SupportSet.of_classes(images)
    steps = model.manifest.default_steps
    return leave_one_out(model.graphs, support.features, support.targets, len(support.labels), steps)


def overruled(suggested: str, log_probabilities: Mapping[str, NDArray[np.float64]]) -> str:
    """The suggested model, or the best of those that are better beyond noise on the shots that are left out.

    The difference in log-probability of the right class is taken shot by shot, and a mean of more than `_BEYOND_NOISE` of its
    standard errors is beyond noise: a paired test, in which all shots are of both models. Accuracies alone would differ
    by whole shots, of which there are few. With four shots to leave out, no difference is beyond noise.

    Args:
        suggested: by what the images look like.
        log_probabilities: of the right class, float64 [F] of the same shots by each model, the suggested one among them.
    """
    best, most = suggested, 0.0
    for name, found in log_probabilities.items():
        gains = np.clip(found - log_probabilities[suggested], -_MOST_OF_A_SHOT, _MOST_OF_A_SHOT)
        total = float(gains.sum())
        if total > max(most, _BEYOND_NOISE * float(np.linalg.norm(gains))):
            best, most = name, total
    return best


def suggest_model(images: Sequence[ImageSource | ImageFile]) -> str:
    """The name of the bundled model that suits these images: `characters` for grey line drawings, `photos` for all else.

    Up to fifteen of them vote, from the first to the last, and JPEGs at reduced scale, so that a folder is not decoded twice;
    `characters` takes more than two votes of three. An image that cannot be read has none. Where only one of the two models is
    bundled, it is that one.

    Args:
        images: one or more, of any classes, in any order.

    Raises:
        BundleError: neither model comes with this edge-adapt.
    """
    known = candidates()
    if not known:
        raise BundleError("no model comes with this edge-adapt; name a file as the model.")
    if len(known) == 1:
        return known[0]
    chosen = np.linspace(0, len(images) - 1, min(len(images), _VOTERS)).round().astype(int)
    drawings = photos = 0
    for index in chosen:
        vote = _is_drawing(images[index])
        drawings, photos = drawings + (vote is True), photos + (vote is False)
        if 2 * photos >= len(chosen) - photos:  # whatever the others say
            return PHOTOS
    return DRAWINGS if drawings > 2 * photos else PHOTOS


def is_line_drawing(image: Image.Image) -> bool:
    """Whether an image, of mode L, RGB or RGBA, is strokes on a sheet, dark on light or light on dark."""
    small = _flat(image)
    pixels = np.asarray(small, np.float32) / 255
    sheet = np.maximum(np.median(pixels, axis=(0, 1)), 1 / 255)
    darkest, middle, lightest = np.percentile(pixels.mean(axis=2), (0.5, 50, 99.5))
    if lightest - middle > middle - darkest:  # chalk on a board
        pixels, sheet = 1 - pixels, np.maximum(1 - sheet, 1 / 255)
    toned = pixels / sheet
    if (np.ptp(toned, axis=2) > _HUE).mean() > 0.03:
        return False
    grey = toned.mean(axis=2)
    halved = Image.fromarray(np.rint(np.clip(grey / 2, 0, 1) * 255).astype(np.uint8))
    bare = np.asarray(_lightest(halved, _window(_STROKE, max(small.size))), np.float32) / 127.5
    dark, light = np.percentile(bare, (2, 98))
    ratio = grey / np.maximum(bare, 1e-3)
    ink, bare_share = float((ratio < _INK).mean()), float((ratio > _BARE).mean())
    even = dark > 0.7 * light
    two_tones = 1 - bare_share - ink < 0.03 + 1.5 * ink  # between them are the rims of strokes alone
    return bool(even and bare_share > 0.7 and ink > 0.005 and two_tones) and _is_flat(ratio)


def _is_flat(ratio: NDArray[np.float32]) -> bool:
    """Whether marks on a sheet are thin, or else of one tone without shadows; [H, W], 1 as bright as the sheet."""
    marks = ratio < _MARK
    width = _window(_THICK, max(marks.shape))
    thick = _filtered(_filtered(marks, ImageFilter.MinFilter(width)), ImageFilter.MaxFilter(width))
    if thick.sum() <= 0.25 * marks.sum():
        return True
    # Rims, whose pixels may be of any tone, are within two pixels of where marks end.
    mottled = _filtered(marks, ImageFilter.MinFilter(5)) & (np.abs(ratio - np.median(ratio[marks])) > 0.1)
    shadows = ~_filtered(marks, ImageFilter.MaxFilter(5)) & (ratio < _BARE)
    return bool((mottled | shadows).sum() <= 0.03 * marks.sum())


def _lightest(image: Image.Image, width: int) -> Image.Image:
    """Of each pixel and those around it, a square of this odd width, the lightest: in small steps, which take less time."""
    for _ in range((width - 1) // 4):
        image = image.filter(ImageFilter.MaxFilter(5))
    return image if (width - 1) % 4 == 0 else image.filter(ImageFilter.MaxFilter(3))


def _filtered(mask: NDArray[np.bool_], rank: ImageFilter.RankFilter) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).filter(rank)) > 0


def _window(share: float, side: int) -> int:
    """A filter's width: the odd number of pixels, three at least, that is about this share of a side."""
    return 2 * max(round(share * side / 2), 1) + 1


def _is_drawing(image: ImageSource | ImageFile) -> bool | None:
    """None where the image cannot be read, which whoever needs all of it will say."""
    try:
        unread = image if isinstance(image, ImageFile) else named(image)
        return is_line_drawing(unread.load((_SIDE, _SIDE)).image)
    except ImageError:
        return None


def _flat(image: Image.Image) -> Image.Image:
    """RGB, _SIDE pixels along the longer side at most, transparency as white."""
    if image.mode == "RGBA":
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    share = min(_SIDE / max(image.size), 1)
    width, height = (max(round(side * share), 1) for side in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
