"""Which bundled model suits images: by their looks, and by which one is right more often."""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import edge_adapt
from edge_adapt.runtime import model as model_module
from edge_adapt.runtime import model_choice
from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images import images as images_module
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.images.images import LoadedImage, UnreadImage, load_image
from edge_adapt.runtime.model_choice import choose_model, overruled, suggest_model
from tests.command_line import complaint, succeeded, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.runtime.test_line_drawings import DRAWN, SAMPLES, shaded_ball


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts tiny.edge in the place of the models that come with the package, under these names."""

    def place(*names: str) -> None:
        (tmp_path / "models").mkdir()
        for name in names:
            shutil.copy(TINY, tmp_path / "models" / f"{name}.edge")
        monkeypatch.setattr(model_module, "MODELS", tmp_path / "models")

    return place


def test_any_class_of_the_sample_drawings_gets_their_model(bundled: Callable[..., None]) -> None:
    bundled("characters", "photos")
    for files in open_folder(SAMPLES / "characters" / "support").classes.values():
        assert suggest_model(files) == "characters"


@given(st.lists(st.booleans(), max_size=15))
def test_drawings_need_more_than_two_votes_of_three(votes: list[bool]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_choice, "models", lambda: ["characters", "photos"])
        patch.setattr(model_choice, "is_line_drawing", lambda image: image.getpixel((0, 0)) == 1)
        images = [Image.new("L", (1, 1), vote) for vote in votes]
        assert (suggest_model(images) == "characters") == (3 * sum(votes) > 2 * len(votes))


def test_what_cannot_be_read_has_no_vote(bundled: Callable[..., None]) -> None:
    bundled("characters", "photos")
    drawing, photo = DRAWN[0], shaded_ball((0.9, 0.1, 0.1))
    assert suggest_model([b"no image", drawing, SAMPLES / "nowhere.png"]) == "characters"
    assert suggest_model([drawing, photo]) == suggest_model([b"no image"]) == suggest_model([]) == "photos"
    assert edge_adapt.load(edge_adapt.suggest_model([drawing])).manifest.name == "tiny"


@pytest.mark.parametrize("count", [1, 4, 15, 16, 500])
def test_of_many_images_fifteen_are_read_spread_out_and_jpegs_at_reduced_scale(
    bundled: Callable[..., None], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    bundled("characters", "photos")
    drawn = True
    stream = io.BytesIO()
    Image.new("RGB", (4000, 3000), (200, 30, 30)).save(stream, "JPEG")
    images = [stream.getvalue() + b"\0" * index for index in range(count)]
    read: list[int] = []

    def load(data: bytes, name: str, size: tuple[int, int]) -> LoadedImage:
        read.append(images.index(data))
        return load_image(data, name, size)

    def judge(image: Image.Image) -> bool:
        assert max(image.size) <= 1000
        return drawn

    monkeypatch.setattr(images_module, "load_image", load)
    monkeypatch.setattr(model_choice, "is_line_drawing", judge)
    assert suggest_model(images) == "characters"
    voters = list(read)
    assert len(voters) == min(count, 15)
    assert {0, count - 1} <= set(voters)
    steps = np.diff(voters)
    assert count == 1 or steps.max() - steps.min() <= 1
    drawn = False
    read.clear()
    assert suggest_model(images) == "photos"
    assert read == voters[: math.ceil(len(voters) / 3)]  # then drawings could not have two thirds any more


@pytest.mark.parametrize("only", ["characters", "photos"])
def test_where_one_model_is_bundled_it_is_taken_and_no_image_is_read(
    bundled: Callable[..., None], only: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled(only)
    monkeypatch.setattr(images_module, "load_image", partial(pytest.fail, "an image was read"))
    assert suggest_model([b"", b""]) == only


def test_without_bundled_models_a_file_is_asked_for(bundled: Callable[..., None], tmp_path: Path) -> None:
    bundled()
    with pytest.raises(BundleError, match="name a file"):
        suggest_model([DRAWN[0]])
    photos = write_photos(tmp_path / "photos", {"red": 1, "green": 1})
    assert "no model comes with" in complaint(command("adapt", photos, "-o", tmp_path / "a.edge"))


def test_adapt_shows_its_choice_and_model_overrides_it(bundled: Callable[..., None], tmp_path: Path) -> None:
    bundled("characters", "photos")
    photos = write_photos(tmp_path / "photos", {"red": 2, "green": 2})
    output = tmp_path / "a.edge"
    chosen = "Model: photos (leave-one-out 100%, characters 100%: no clear difference, and these are photos)"
    assert chosen in succeeded(command("adapt", photos, "-o", output))
    drawn = succeeded(command("adapt", SAMPLES / "characters" / "support", "-o", output))
    counted = re.search(r"(\d+) of (\d+) images right when left out", drawn)
    assert counted
    share = f"{int(counted[1]) / int(counted[2]):.0%}"
    equal = f"leave-one-out {share}, photos {share}: no clear difference, and these are grey line drawings"
    assert f"Model: characters ({equal})" in drawn
    singles = write_photos(tmp_path / "singles", {"red": 1, "green": 1})
    chosen = "Model: photos (photos; --model characters is for line drawings)"
    assert chosen in succeeded(command("adapt", singles, "-o", output))
    assert "Model:" not in succeeded(command("adapt", photos, "-o", output, "--model", "characters"))
    assert "Model:" not in succeeded(command("adapt", photos, "-o", output, "--model", TINY))


def test_adapt_says_how_much_better_the_model_is(
    bundled: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled("characters", "photos")
    photos = write_photos(tmp_path / "photos", {"red": 5, "green": 5})
    labels = np.arange(10) % 2
    logits = {name: np.eye(2)[labels] * sure for name, sure in (("characters", 3.0), ("photos", 0.5))}
    logits["characters"][:1] *= -0.1
    logits["photos"][:3] *= -0.1
    better = {name: LeaveOneOut(np.arange(10), labels, found.astype(np.float32)) for name, found in logits.items()}
    monkeypatch.setattr(model_choice, "leave_one_out", lambda graphs, *_: better[graphs.bundle.path.stem])
    said = succeeded(command("adapt", photos, "-o", tmp_path / "a.edge"))
    assert "Model: characters (leave-one-out 90%, photos 70%)" in said
    for model in ("characters", "photos"):
        bundle = tmp_path / "models" / f"{model}.edge"
        assert "would be lost" in complaint(command("adapt", photos, "-o", bundle))


@pytest.mark.parametrize(
    ("shots", "models"), [({"red": 3, "green": 1}, ["photos", "characters"]), ({"red": 1, "green": 1}, ["photos"])]
)
def test_each_model_that_is_compared_reads_each_image_once(
    bundled: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shots: dict[str, int],
    models: list[str],
) -> None:
    bundled("characters", "photos")
    photos = write_photos(tmp_path / "photos", shots)
    read: list[tuple[str, str]] = []
    embed_image = Graphs.embed_image

    def note(self: Graphs, image: UnreadImage, *, as_shot: bool = False) -> EmbeddedImage:
        assert as_shot
        read.append((self.bundle.path.stem, image.name))
        return embed_image(self, image, as_shot=as_shot)

    monkeypatch.setattr(Graphs, "embed_image", note)
    choice = choose_model(photos, "cpu")
    assert (choice.name, choice.suggested, list(choice.leave_one_out)) == (
        "photos",
        "photos",
        models * (len(models) > 1),
    )
    assert {label: len(of_label) for label, of_label in choice.images.items()} == shots
    assert len(read) == len(set(read)) == len(models) * sum(shots.values())
    assert {model for model, _ in read} == set(models)
    adapted = choice.model.adapt_embedded(choice.images).adaptation
    assert list(choice.leave_one_out.values())[:1] == [adapted.leave_one_out][: len(models) - 1]


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=40), st.integers(0, 99))
def test_looks_are_overruled_by_a_difference_beyond_noise_alone(found: list[float], seed: int) -> None:
    photos = np.array(found)
    assert overruled("photos", {"photos": photos, "characters": photos}) == "photos"
    assert overruled("photos", {"photos": photos, "characters": photos - 1, "other": photos - 2}) == "photos"
    better = {"photos": photos, "characters": photos + 1, "other": photos + 2}
    assert overruled("photos", better) == ("other" if len(found) > 4 else "photos")
    assert overruled("other", better) == "other"
    noise = np.random.default_rng(seed).normal(0, 1, len(found))
    noisy = {"photos": np.zeros(2 * len(noise)), "characters": np.concatenate([noise, -noise])}
    assert all(overruled(name, noisy) == name for name in noisy)


def test_one_shot_that_a_model_is_wrong_of_for_certain_does_not_decide() -> None:
    photos, characters = np.full(20, -1.5), np.full(20, -0.1)
    characters[7] = -1000
    assert overruled("photos", {"photos": photos, "characters": characters}) == "characters"


def test_adapt_names_what_is_wrong_with_the_photos_whichever_model(
    bundled: Callable[..., None], tmp_path: Path
) -> None:
    bundled("characters", "photos")
    assert "nowhere" in complaint(command("adapt", tmp_path / "nowhere", "-o", tmp_path / "a.edge"))
    photos = write_photos(tmp_path / "photos", {"red": 1, "green": 1})
    (photos / "red" / "0.png").write_bytes(b"no image")
    assert f"{photos}/red/0.png" in complaint(command("adapt", photos, "-o", tmp_path / "a.edge"))
