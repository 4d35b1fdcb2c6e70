"""Teach the bundled model characters that it has never seen, then classify others' drawings of them."""

from collections import defaultdict
from pathlib import Path

import edge_adapt

CHARACTERS = Path(__file__).resolve().parent / "characters"


def main() -> None:
    support: dict[str, list[Path]] = defaultdict(list)
    for image in sorted(CHARACTERS.glob("support/*/*.png")):
        support[image.parent.name].append(image)

    classifier = edge_adapt.load_model("characters").adapt(support)

    query = sorted(CHARACTERS.glob("query/*/*.png"))
    right = 0
    for image in query:
        prediction = classifier.classify(image)
        right += prediction.label == image.parent.name
        print(f"{image.relative_to(CHARACTERS)}  {prediction.label}  {prediction.confidence:.0%}")
    print(f"{right} of {len(query)} right")

    classifier.save("mine.edge")  # edge_adapt.load("mine.edge") brings the classifier back, on any device


if __name__ == "__main__":
    main()
