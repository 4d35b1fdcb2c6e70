"""The committed samples are what their script draws, and what samples/README.md says of them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.samples.character_studio.draw_characters import (
    CHARACTERS,
    QUERY_DRAWERS,
    SIDE,
    SUPPORT_DRAWERS,
    draw,
)
from edge_adapt.samples.character_studio.signs import SIGNS

PARTS = {"support": SUPPORT_DRAWERS, "query": QUERY_DRAWERS}


def committed() -> list[Path]:
    return sorted(CHARACTERS.glob("**/*.png"))


def test_folder_holds_every_sign_by_every_drawer_and_nothing_else() -> None:
    expected = {
        CHARACTERS / part / sign / f"drawer{drawer:02d}.png"
        for part, drawers in PARTS.items()
        for sign in SIGNS
        for drawer in drawers
    }
    assert set(committed()) == expected
    assert len(SIGNS) >= 10
    assert (len(SUPPORT_DRAWERS), len(QUERY_DRAWERS)) == (5, 10)
    assert not set(SUPPORT_DRAWERS) & set(QUERY_DRAWERS)


@pytest.mark.parametrize("sign", SIGNS)
def test_committed_images_are_what_the_script_draws(sign: str) -> None:
    # Pixels, not bytes: the PNG encoder differs between versions of Pillow and zlib.
    for part, drawers in PARTS.items():
        for drawer in drawers:
            with Image.open(CHARACTERS / part / sign / f"drawer{drawer:02d}.png") as image:
                assert (image.format, image.mode, image.size) == ("PNG", "1", (SIDE, SIDE))
                assert np.array_equal(np.asarray(image), np.asarray(draw(sign, drawer)))


def test_no_two_images_are_the_same() -> None:
    pixels = [Image.open(path).tobytes() for path in committed()]
    assert len(set(pixels)) == len(pixels)


def test_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in committed()) < 100_000


@given(sign=st.sampled_from(sorted(SIGNS)), drawer=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_any_drawer_stays_on_the_paper_and_fills_most_of_it(sign: str, drawer: int) -> None:
    black = ~np.asarray(draw(sign, drawer))
    rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
    assert min(rows[0], columns[0]) > 0
    assert max(rows[-1], columns[-1]) < SIDE - 1
    assert max(np.ptp(rows), np.ptp(columns)) > SIDE / 2
