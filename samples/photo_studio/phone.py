"""What a phone makes of the light: focus, exposure, white balance, noise, sharpening and a tone curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Field = NDArray[np.float32]

_BLURS = (0.0, 0.8, 1.6, 3.0, 5.5, 9.0)


@dataclass(frozen=True)
class Phone:
    """A camera and its habits.

    Attributes:
        focus: the distance that is sharp, in units of the parts.
        aperture: pixels of blur (deviation) far behind what is sharp.
        shake: pixels of blur everywhere.
        exposure: stops brighter than a meter would have it.
        balance: how much of the light's colour it removes, 0 to 1.
        tint: RGB gains on top, its own idea of white.
        noise: deviation at middle grey, of 1.
        saturation, contrast, vignette: of its picture.
    """

    focus: float
    aperture: float
    shake: float
    exposure: float
    balance: float
    tint: tuple[float, float, float]
    noise: float
    saturation: float
    contrast: float
    vignette: float


def develop(
    light: Field, depth: Field, illuminant: NDArray[np.float64], phone: Phone, random: RandomState
) -> NDArray[np.uint8]:
    """Linear light [H, W, 3], its distance [H, W] and its colour to a picture, uint8 [H, W, 3]."""
    height, width, _ = light.shape
    scale = height / 480
    picture = focused(light, phone.aperture * scale * np.abs(1 - phone.focus / np.maximum(depth, 0.1)))
    picture = blurred(picture, phone.shake * scale)
    y, x = np.mgrid[0:height, 0:width]
    away = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width**2 + height**2) * 4
    picture = picture * (1 - phone.vignette * away**1.2)[..., None]
    picture = picture * np.array(phone.tint) / illuminant**phone.balance
    grey = picture @ np.array((0.25, 0.6, 0.15))
    metered = np.exp(np.log(grey[height // 8 : -height // 8] + 0.01).mean())
    # Meters give way a little to bright and dark scenes: white paper comes out brighter than felt.
    picture = picture * (0.19 / metered) ** 0.68 * 2**phone.exposure * 0.95
    picture = noisy(picture, phone.noise, random)
    picture = sharpened(tone(np.maximum(picture, 0)), 0.25, scale)
    grey = (picture @ np.array((0.3, 0.59, 0.11)))[..., None]
    picture = grey + (picture - grey) * phone.saturation
    picture = 0.5 + (picture - 0.5) * phone.contrast
    return np.asarray(np.rint(np.clip(picture, 0, 1) * 255), np.uint8)


def focused(light: Field, blur: Field) -> Field:
    """Light, blurred at each pixel by its own deviation in pixels; what is sharp does not bleed into what is not."""
    result = light.copy()
    for low, high in zip(_BLURS, (*_BLURS[1:], None), strict=True):
        if low == 0:
            continue
        before = _BLURS[_BLURS.index(low) - 1]
        if not (blur > before).any():
            break
        weight = np.clip((blur - 0.35 * low) / (0.4 * low), 0.002, 1)[..., None]
        smooth = blurred(light * weight, low) / np.maximum(blurred(np.broadcast_to(weight, light.shape), low), 1e-6)
        share = np.clip((blur - before) / (low - before), 0, 1)[..., None]
        result = result * (1 - share) + smooth * share
        if high is None:
            break
    return np.asarray(result, np.float32)


def blurred(picture: Field, deviation: float) -> Field:
    """A Gaussian blur along both axes, the border repeated."""
    if deviation < 0.15:
        return picture
    reach = int(np.ceil(3 * deviation))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(0, 0)] * picture.ndim
        padding[axis] = (reach, reach)
        padded = np.pad(picture, padding, mode="edge")
        length = picture.shape[axis]
        parts = (np.take(padded, range(i, i + length), axis) * np.float32(k) for i, k in enumerate(kernel))
        picture = np.asarray(sum(parts), np.float32)
    return picture


def noisy(picture: Field, strength: float, random: RandomState) -> Field:
    """Shot and read noise; a phone removes most of its colour and smears the rest."""
    shape = picture.shape[:2]
    level = np.sqrt(np.maximum(picture, 0) * 0.19 + 0.004) * strength
    luma = blurred(random.standard_normal(shape).astype(np.float32), 0.55) * np.float32(1.9)
    colour = blurred(random.standard_normal(picture.shape).astype(np.float32), 1.5) * np.float32(2.2)
    return np.asarray(picture + level * (luma[..., None] + 0.5 * colour) * 1.6, np.float32)


def sharpened(picture: Field, amount: float, scale: float) -> Field:
    """An unsharp mask, as every phone applies one."""
    return np.asarray(picture + amount * (picture - blurred(picture, 1.1 * scale)), np.float32)


def tone(light: Field) -> Field:
    """Linear light to display values, 0 to 1: a filmic shoulder (Narkowicz 2015), then sRGB's curve."""
    curve = np.clip(light * (2.51 * light + 0.03) / (light * (2.43 * light + 0.59) + 0.14), 0, 1)
    return np.asarray(np.where(curve < 0.0031308, 12.92 * curve, 1.055 * curve ** (1 / 2.4) - 0.055), np.float32)
