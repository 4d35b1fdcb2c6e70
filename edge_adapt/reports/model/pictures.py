"""The parts of the page that show images: the confusion matrix and the example episodes, ready for the template."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from edge_adapt.reports.model.mistakes import Confusions, Example
from edge_adapt.reports.pages import thumbnail
from edge_adapt.runtime.data.dataset import ImageDataset

SIDE = 96
"""The larger side of a picture on the page at most, pixels."""

MOST_QUERIES, MOST_SUPPORT, MOST_PAIRS = 8, 5, 6
"""Pictures of a class in an episode, and confusions in the list, at most."""


@dataclass(frozen=True)
class Query:
    """A query's picture, the letter of the class that it was taken for, how sure that was, and whether it was right."""

    picture: str
    given: str
    confidence: float
    right: bool


@dataclass(frozen=True)
class ExampleClass:
    """A class of an episode: its letter and name, pictures of its support images, and its queries, wrong answers first."""

    letter: str
    name: str
    support: list[str]
    queries: list[Query]


class Pictures:
    """What the model sees of a data set, as addresses of PNG or JPEG that hold the picture themselves."""

    def __init__(self, data: ImageDataset) -> None:
        self._data = data
        self.names = short_names(data)
        self.most_queries, self.most_support = MOST_QUERIES, MOST_SUPPORT

    def of_image(self, image: int) -> str:
        """An image of the data set."""
        pixels = np.asarray(self._data.images[image])
        return thumbnail(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), SIDE)

    def of_class(self, label: int) -> str:
        """The first image of a class."""
        return self.of_image(int(self._data.starts[label]))

    def example(self, shown: Example) -> Iterator[ExampleClass]:
        """The classes of an episode."""
        answers, episode = shown.answers, shown.answers.episode
        for label, of_data in enumerate(answers.classes(self._data)):
            support = episode.support[episode.support_labels == label][:MOST_SUPPORT]
            asked = np.flatnonzero(episode.query_labels == label)
            asked = asked[np.argsort(answers.right[asked], kind="stable")][:MOST_QUERIES]
            queries = [
                Query(
                    self.of_image(int(episode.query[query])),
                    _letter(int(answers.predicted[query])),
                    float(answers.confidence[query]),
                    bool(answers.right[query]),
                )
                for query in asked
            ]
            pictures = [self.of_image(int(image)) for image in support]
            yield ExampleClass(_letter(label), self.names[of_data], pictures, queries)

    @staticmethod
    def strongest(confusions: Confusions) -> float:
        """The largest share that is taken for another class, at least a tenth."""
        shares = confusions.shares
        return max(0.1, float((shares - np.diag(np.diag(shares))).max()))

    def worst(self, confusions: Confusions) -> list[tuple[float, int, int]]:
        """The most frequent confusions of the matrix: the share, the class, and what it was taken for."""
        shares, classes = confusions.shares, confusions.classes
        found = [
            (float(share), row, column)
            for (row, column), share in np.ndenumerate(shares)
            if row != column and share > 0
        ]
        ordered = sorted(found, reverse=True)[:MOST_PAIRS]
        return [(share, int(classes[row]), int(classes[column])) for share, row, column in ordered]


def short_names(data: ImageDataset) -> list[str]:
    """The classes' names without the folders that all of them lie in."""
    names = data.class_names
    folders = [name.split("/")[:-1] for name in names]
    common = 0
    while all(len(folder) > common and folder[common] == folders[0][common] for folder in folders):
        common += 1
    return ["/".join(name.split("/")[common:]) for name in names]


def _letter(label: int) -> str:
    return "ABCDEFGHIJ"[label]
