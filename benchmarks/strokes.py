"""Accuracy on printed characters, in styles that no bundle was trained on, beside frozen feature extractors.

    python benchmarks/strokes.py FONTS [--model MODEL ...] [--frozen NAME=FILE.onnx ...]

FONTS is a folder, such as /usr/share/fonts with Debian's fonts-dejavu, fonts-noto-core, fonts-freefont-ttf, fonts-liberation and
more; figures depend on which. A class is a character of one of six scripts, and an image of it is in one face of a family of
fonts, turned a little, of any size and a little off the middle. A family has one image a class, so that support and query differ
in style. Each is drawn dark on light, light on dark, in thick strokes and in outline; all models see the same episodes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frozen_graph import FrozenGraph
from benchmarks.measuring import machine, table
from benchmarks.plain_heads import ClassMeans, LogisticRegression
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import Evaluation, embed_dataset, evaluate_episodes
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.runtime.images.views import View
from edge_adapt.runtime.model import load_model, models

SCRIPTS = {
    "Latin": "ABCDEFGHIJKLMNOPQRSTUVWXYZabdeghnqrt",
    "Greek": "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθλμξπστφψω",
    "Cyrillic": "БДЖЗИЛУЦЧШЭЮЯ",
    "Georgian": "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ",
    "Armenian": "ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՖ",
    "Hebrew": "אבגדהוזחטיכלמנעפצקרשת",
}
"""Without those that look like one of another script or case."""

SIDE, INK, PAPER = 160, 20, 245
MISSING = "\uffff"  # no character, so that a font draws for it what it draws for those it lacks
SHOTS, QUERIES, SEED = (1, 5), 15, 0
LEAST = max(SHOTS) + 2
COLUMNS = ((5, 1), (5, 5), (20, 1), (20, 5))


@dataclass(frozen=True)
class Style:
    """How strokes are drawn.

    Attributes:
        name: as the table calls it.
        width: what is added around a stroke, of the character's height.
        hollow: the outline alone.
        negative: light on dark.
    """

    name: str
    width: float = 0.0
    hollow: bool = False
    negative: bool = False


STYLES = (
    Style("dark on light"),
    Style("light on dark", negative=True),
    Style("thick strokes", width=0.05),
    Style("outlines", width=0.02, hollow=True),
)


def families(folder: str | Path) -> dict[str, list[Path]]:
    """The font files below a folder by family, in order; those without outlines to scale are passed over."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".ttf", ".otf")):
        try:
            family = ImageFont.truetype(str(path), 40).getname()[0]
        except OSError:
            continue
        found.setdefault(family or path.stem, []).append(path)
    return found


def has_glyph(path: Path, character: str) -> bool:
    """Whether a font draws this character, and not a box in its place."""
    font = ImageFont.truetype(str(path), 40)
    drawn = bytes(font.getmask(character))
    return any(drawn) and drawn != bytes(font.getmask(MISSING))


def faces(folder: str | Path, seed: int = SEED) -> dict[str, list[Path]]:
    """For each character that enough families have, one face of each of them, drawn at random."""
    random = np.random.default_rng(seed)
    known = families(folder)
    chosen: dict[str, list[Path]] = {}
    for character in "".join(SCRIPTS.values()):
        able = ([path for path in paths if has_glyph(path, character)] for paths in known.values())
        picked = [paths[random.integers(len(paths))] for paths in able if paths]
        if len(picked) >= LEAST:
            chosen[character] = picked
    return chosen


def draw(character: str, face: Path, style: Style, random: np.random.Generator) -> Image.Image:
    """One image, [SIDE, SIDE] of grey; turned, scaled and moved as the generator says, which is the same for all styles."""
    size, angle, (right, down) = random.uniform(0.5, 0.8) * SIDE, random.uniform(-8, 8), random.uniform(-0.05, 0.05, 2)
    left, upper, end, lower = ImageFont.truetype(str(face), 100).getbbox(character)
    scaled = ImageFont.truetype(str(face), round(100 * size / max(end - left, lower - upper, 1)))
    left, upper, end, lower = scaled.getbbox(character)
    corner = ((1 + 2 * right) * SIDE - left - end) / 2, ((1 + 2 * down) * SIDE - upper - lower) / 2
    image = Image.new("L", (SIDE, SIDE), PAPER)
    fill = PAPER if style.hollow else INK
    ImageDraw.Draw(image).text(corner, character, fill, scaled, stroke_width=round(style.width * size), stroke_fill=INK)
    turned = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=PAPER)
    return ImageOps.invert(turned) if style.negative else turned


def pictures(chosen: Mapping[str, Sequence[Path]], style: Style, seed: int = SEED) -> dict[str, list[Image.Image]]:
    """The images of each class."""
    return {
        character: [
            draw(character, face, style, np.random.default_rng((seed, ord(character), number)))
            for number, face in enumerate(of_character)
        ]
        for character, of_character in chosen.items()
    }


def dataset(classes: Mapping[str, Sequence[Image.Image]], preprocessing: Preprocessing) -> ImageDataset:
    """What a model sees of the images of each class."""
    pixels = [preprocess(image, preprocessing) for images in classes.values() for image in images]
    starts = np.cumsum([0, *map(len, classes.values())], dtype=np.int64)
    return ImageDataset("the fonts", np.stack(pixels), tuple(classes), starts)


@dataclass(frozen=True)
class Candidate:
    """A model to measure.

    Attributes:
        models: what adapts and predicts on the same features, by name.
        preprocessing, steps, views: of all of them.
    """

    models: Mapping[str, EpisodeModel]
    preprocessing: Preprocessing
    steps: int = 0
    views: tuple[View, ...] = ()

    @staticmethod
    def bundle(model: str) -> Candidate:
        """A bundle by its path or name."""
        graphs = load_model(model, "cpu", threads=1).graphs
        manifest = graphs.manifest
        return Candidate(
            {Path(model).stem: graphs}, manifest.preprocessing, manifest.default_steps, manifest.support_views
        )

    @staticmethod
    def frozen(name: str, path: str) -> Candidate:
        """A frozen extractor."""
        graph = FrozenGraph(path)
        heads: dict[str, EpisodeModel] = {
            f"{name}, class means": ClassMeans(graph.embed),
            f"{name}, logistic regression": LogisticRegression(graph.embed, 10),
        }
        return Candidate(heads, graph.preprocessing)

    def measure(
        self, classes: Mapping[str, Sequence[Image.Image]], columns: Iterable[tuple[int, int]], episodes: int
    ) -> dict[str, list[Evaluation]]:
        """The accuracy of each model for each number of ways and shots."""
        data = dataset(classes, self.preprocessing)
        features = embed_dataset(next(iter(self.models.values())), data, self.views)
        measured = {}
        for name, model in self.models.items():
            measured[name] = [
                evaluate_episodes(
                    model,
                    data,
                    EvaluationProtocol(
                        n_way=n_way, n_shot=n_shot, n_query=QUERIES, episodes=episodes, steps=self.steps, seed=SEED
                    ),
                    features=features,
                )
                for n_way, n_shot in columns
            ]
        return measured


def main() -> None:
    """Print a table for each style."""
    parser = argparse.ArgumentParser(description="Measure models on characters drawn from fonts.")
    parser.add_argument("fonts", help="A folder with .ttf and .otf files.")
    parser.add_argument("--model", action="append", metavar="MODEL", help="A bundle; all that come with edge-adapt.")
    parser.add_argument("--frozen", action="append", default=[], metavar="NAME=FILE.onnx", help="A feature extractor.")
    parser.add_argument("--episodes", type=int, default=300)
    arguments = parser.parse_args()
    print(machine("onnxruntime", "numpy", "pillow"), "\n")
    chosen = faces(arguments.fonts)
    if not chosen:
        parser.error(f"{arguments.fonts} has no character in enough families of fonts; install more of them.")
    counts = {script: sum(character in chosen for character in characters) for script, characters in SCRIPTS.items()}
    scripts = ", ".join(f"{script} {count}" for script, count in counts.items() if count)
    print(
        f"{len(chosen)} characters ({scripts}), {min(map(len, chosen.values()))} to {max(map(len, chosen.values()))} families."
    )
    print(f"Percent, {arguments.episodes} episodes, up to {QUERIES} queries a class.\n")
    candidates = [Candidate.bundle(model) for model in arguments.model or models()]
    candidates += [Candidate.frozen(*named.split("=", 1)) for named in arguments.frozen]
    for style in STYLES:
        classes = pictures(chosen, style)
        rows = [
            [name, *(f"{100 * of.accuracy:.2f} ± {100 * of.ci95:.2f}" for of in evaluations)]
            for candidate in candidates
            for name, evaluations in candidate.measure(classes, COLUMNS, arguments.episodes).items()
        ]
        print(table([style.name, *(f"{n_way}-way {n_shot}-shot" for n_way, n_shot in COLUMNS)], rows), "\n", flush=True)


if __name__ == "__main__":
    main()
