"""Reading many image files at once: in order, whatever their kind, with those that cannot be read counted."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.data import dataset as dataset_module
from edge_adapt.runtime.data import reading
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol, draw_episodes
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from tests.image_files import noise, refusal, write

GRAY = Preprocessing(6, 6, 1)
COLOUR = Preprocessing(8, 8, 3)


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(seed, (40, 50, 3))).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images of 6 classes; of class 2 and class 4 three are spoilt in three ways."""
    tree: dict[str, NDArray[np.uint8] | bytes] = {
        f"class {label}/{index:02d}.png": noise(100 * label + index) for label in range(6) for index in range(50)
    }
    tree |= {"class 2/07.png": b"no image", "class 2/31.png": b"", "class 4/00.png": jpeg(0)[:-400]}
    return write(tmp_path_factory.mktemp("spoilt") / "data", tree)


def test_blocks_come_in_order_and_are_what_single_images_are(tmp_path: Path) -> None:
    sizes = np.random.default_rng(0).integers(5, 90, (100, 2))  # so that some take longer than others
    root = write(
        tmp_path / "data", {f"a/{index:03d}.png": noise(index, tuple(size)) for index, size in enumerate(sizes)}
    )
    files = open_folder(root).classes["a"]
    expected = [preprocess(load_image(root / file.name).image, GRAY) for file in files]
    for count in (1, 15, 16, 17, 100):
        blocks = list(reading.read_blocks(files[:count], str(root), GRAY))
        np.testing.assert_array_equal(np.concatenate([block.pixels for block in blocks]), expected[:count])
        assert not any(block.faults for block in blocks)


def test_who_stops_taking_blocks_leaves_no_thread_behind(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {f"a/{index}.png": noise(index) for index in range(200)})
    before = set(threading.enumerate())
    blocks = reading.read_blocks(open_folder(root).classes["a"], str(root), GRAY)
    next(blocks)
    assert set(threading.enumerate()) != before
    del blocks
    assert set(threading.enumerate()) == before


# Images that cannot be read


def test_bad_images_are_counted_and_named(spoilt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = refusal(lambda: load_dataset(spoilt, GRAY), ImageError)
    assert message.startswith(f"{spoilt}: 3 of 300 images cannot be read: {spoilt}/class 2/07.png is not an image")
    assert f"; {spoilt}/class 2/31.png " in message and f"; {spoilt}/class 4/00.png " in message
    assert message.endswith("; repair or remove them, or pass --skip-bad.")
    monkeypatch.setattr(dataset_module, "MOST_NAMED", 1)
    message = refusal(lambda: load_dataset(spoilt, GRAY), ImageError)
    assert "class 2/31.png" not in message and "; and 2 more; repair" in message


def test_bad_images_are_skipped_where_that_is_asked_for(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_dataset(spoilt, GRAY, skip_bad=True)
    assert capsys.readouterr() == ("", "")
    assert data.counts.tolist() == [50, 50, 48, 50, 49, 50] and len(data.files) == len(data.images) == 297
    for file, image in zip(data.files, data.images, strict=True):
        np.testing.assert_array_equal(image, preprocess(load_image(spoilt / file).image, GRAY))
    names = ("class 2/07.png", "class 2/31.png", "class 4/00.png")
    assert [str(spoilt / name) in sentence for name, sentence in zip(names, data.skipped, strict=True)] == [True] * 3


def test_skipped_images_are_named(
    spoilt: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_dataset(spoilt, GRAY, progress=True, skip_bad=True)
    said = capsys.readouterr().err
    assert f"{spoilt}: skipping 3 of 300 images, which cannot be read:\n" in said
    for name in ("class 2/07.png", "class 2/31.png", "class 4/00.png"):
        assert f"  {spoilt}/{name} " in said
    monkeypatch.setattr(dataset_module, "MOST_NAMED", 2)
    load_dataset(spoilt, GRAY, progress=True, skip_bad=True)
    said = capsys.readouterr().err
    assert "class 2/31.png" in said and "class 4/00.png" not in said and "  and 1 more\n" in said


def test_rotations_of_what_is_left(spoilt: Path) -> None:
    plain, turned = load_dataset(spoilt, GRAY, skip_bad=True), load_dataset(spoilt, GRAY, rotations=True, skip_bad=True)
    assert turned.counts.tolist() == plain.counts.tolist() * 4
    np.testing.assert_array_equal(turned.images[297:594], np.rot90(plain.images, axes=(1, 2)))


def test_a_class_of_which_too_little_is_left_is_named(tmp_path: Path) -> None:
    tree = {f"{label}/{index}.png": noise(index) for label in "ab" for index in range(3)}
    root = write(tmp_path / "data", tree | {"b/0.png": b"", "b/1.png": b"", "b/2.png": b""})
    data = load_dataset(root, GRAY, skip_bad=True)
    assert data.counts.tolist() == [3, 0]
    assert "class 'b' has 0 images where an episode takes 2" in refusal(
        lambda: draw_episodes(data, EvaluationProtocol(n_way=2))
    )


def test_a_data_set_of_bad_images_alone_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"a/1.png": b"", "b/1.png": b"x"})
    message = refusal(lambda: load_dataset(root, GRAY, skip_bad=True), ImageError)
    assert "2 of 2 images cannot be read: " in message and message.endswith("; repair or remove them.")


def test_a_damaged_entry_of_a_zip_is_a_bad_image(tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, seed in (("a/1.jpg", 1), ("a/2.jpg", 2), ("b/1.jpg", 3)):
            archive.writestr(name, jpeg(seed))
    path.write_bytes(path.read_bytes().replace(jpeg(2)[-60:-20], bytes(40)))
    assert "1 of 3 images cannot be read" in refusal(lambda: load_dataset(path, COLOUR), ImageError)
    data = load_dataset(path, COLOUR, skip_bad=True)
    assert data.files == ("a/1.jpg", "b/1.jpg")
    assert "holds a/2.jpg, which is damaged" in data.skipped[0]


# Images of every kind in a colour data set


def odd_images() -> dict[str, tuple[Image.Image, NDArray[np.uint8]]]:
    """Images of other modes than RGB, and the RGB pixels that they show."""
    grey, alpha = noise(0, (8, 8)), noise(2, (8, 8))
    colour = noise(1, (8, 8, 3))
    grey_as_rgb = np.repeat(grey[..., None], 3, axis=2)
    deep = grey.astype(np.uint16) * 256 + noise(3, (8, 8))  # the high byte is what is seen
    ink = np.dstack([255 - colour, np.zeros((8, 8), np.uint8)])  # no black, so that the rest is the complement
    palette = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P")
    palette.putpalette(colour.tobytes())
    over_white = np.rint(colour * (alpha[..., None] / 255) + 255.0 - alpha[..., None]).astype(np.uint8)
    return {
        "grey.png": (Image.fromarray(grey), grey_as_rgb),
        "rgba.png": (Image.fromarray(np.dstack([colour, alpha])), over_white),
        "cmyk.tif": (Image.frombytes("CMYK", (8, 8), ink.tobytes()), colour),
        "deep.png": (Image.fromarray(deep), grey_as_rgb),
        "palette.png": (palette, colour),
        "bits.png": (Image.fromarray(grey > 127), np.where(grey_as_rgb > 127, 255, 0).astype(np.uint8)),
    }


def test_every_kind_of_image_becomes_rgb_pixels(tmp_path: Path) -> None:
    odd = odd_images()
    for name, (image, _) in odd.items():
        (tmp_path / "data" / name.partition(".")[0]).mkdir(parents=True)
        image.save(tmp_path / "data" / name.partition(".")[0] / name)
    data = load_dataset(tmp_path / "data", COLOUR)
    assert data.images.shape == (len(odd), 8, 8, 3)
    for file, pixels in zip(data.files, data.images, strict=True):
        expected = odd[Path(file).name][1]
        assert np.abs(pixels.astype(int) - expected).max() <= 1, file  # Pillow's rounding of transparency


def test_a_cmyk_jpeg_shows_its_colours(tmp_path: Path) -> None:
    """JPEG loses a little; a flat colour keeps what it is."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    Image.new("CMYK", (40, 40), (255 - 200, 255 - 60, 255 - 30, 0)).save(tmp_path / "data" / "a" / "1.jpg", quality=95)
    (pixels,) = load_dataset(tmp_path / "data", COLOUR).images
    assert np.abs(pixels.astype(int) - (200, 60, 30)).max() <= 3
