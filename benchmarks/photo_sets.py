"""The sets of photos that models are chosen on and reported on, and which of their files are support and which are queries."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class PhotoSet:
    """A data set and how its episodes are drawn.

    Attributes:
        name: as tables and manifests call it; a development set is the zip of that name.
        chosen_on: models and settings may be chosen by it; what is reported of others is of sets that nothing was fitted to.
        support, query: patterns of the files that support sets and queries are drawn from; None: all.
        path: a folder or zip with one sub-folder a class.
        classes: files with one class a line, as of `load_dataset`.
    """

    name: str
    chosen_on: bool = False
    support: str | None = None
    query: str | None = None
    path: str = ""
    classes: tuple[str, ...] = ()


DEVELOPMENT = (
    PhotoSet("coins_euro", True, "train_*", "test_*"),
    PhotoSet("food10", True, "train_*", "test_*"),
    PhotoSet("scenes15", True, "train_*", "test_*"),
    PhotoSet("pokemon", True),
    # fish_TRAJECTORY_NUMBER: the images of a trajectory show the same animal within seconds. The seventh of its twelve digits
    # leaves every class 19 images or more on either side; the last would leave some none.
    PhotoSet("fish4k", False, "fish_??????[02468]*", "fish_??????[13579]*"),
    PhotoSet("butterflies10"),
    PhotoSet("waste8"),
    PhotoSet("aerial7"),
)
GROCERY = PhotoSet("GroceryStore", False, "train_*", "test_*")
MINI_IMAGENET = PhotoSet("mini-ImageNet test")


def find(development: str | None, grocery: str | None) -> list[PhotoSet]:
    """The sets that are there, those to choose on first: of a folder of development sets, and GroceryStore.

    Raises:
        SystemExit: the folder lacks one of the development sets, without which means would be of something else.
    """
    found = []
    for data in DEVELOPMENT if development else ():
        path = Path(development or "", f"{data.name}.zip")
        if not path.is_file():
            raise SystemExit(f"{path}: there is no such file; --dev takes a folder with all development sets.")
        found.append(replace(data, path=str(path)))
    return [*found, replace(GROCERY, path=grocery)] if grocery else found


def add_sources(parser: argparse.ArgumentParser) -> None:
    """Give a benchmark the options that `sources` reads."""
    parser.add_argument("--dev", metavar="FOLDER", help="The development sets of photos.")
    parser.add_argument("--grocery", metavar="GROCERY.zip", help="GroceryStore.")
    parser.add_argument("--omniglot", metavar="OMNIGLOT.zip", help="Omniglot.")
    parser.add_argument("--classes", nargs="*", default=[], metavar="FILE", help="The classes of Omniglot to take.")


def sources(arguments: argparse.Namespace) -> Iterator[tuple[PhotoSet, str]]:
    """The data sets that are there, and the model for each."""
    if arguments.omniglot:
        yield PhotoSet("Omniglot", path=arguments.omniglot, classes=tuple(arguments.classes)), "characters"
    for data in find(arguments.dev, arguments.grocery):
        yield data, "photos"
