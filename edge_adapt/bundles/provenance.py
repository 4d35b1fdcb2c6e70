"""What whoever makes a bundle says of the model, beside what is known of it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from edge_adapt.runtime.bundle.card import ModelCard


@dataclass(frozen=True)
class Provenance:
    """Whose model it is.

    Attributes:
        name: of the model; by default the file's.
        license: of the weights, an SPDX expression or a sentence.
        trained_on: the data in words; by default what is known of it.
    """

    name: str = ""
    license: str = ""
    trained_on: str = ""

    def fill_in(self, card: ModelCard, path: str | os.PathLike[str]) -> ModelCard:
        """The card of a bundle at `path`, from what is known of the model already."""
        return replace(
            card,
            name=self.name or Path(path).stem,
            license=self.license,
            trained_on=self.trained_on or card.trained_on,
        )
