"""The device side on the oldest and the newest of what it runs on: python -m tests.old_and_new [PYTHON...]

Builds the wheel, installs it into fresh environments, with the oldest versions that have wheels and with the newest, and lets
each adapt to both sets of samples and classify them with all bundled models. Labels must be those of the first environment.
Takes minutes and a package index; a PYTHON is an interpreter, such as python3.10.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OLDEST = ("numpy==1.24.*", "onnxruntime==1.16.*", "pillow==9.2.*", "click==8.1.0", "tqdm==4.60.*")
"""There are wheels of them for Python 3.10 and 3.11."""
NEWEST = ("numpy", "onnxruntime", "pillow", "click", "tqdm")

Answers = dict[str, tuple[str, float]]
"""The label and the confidence of each image."""

ANSWERS = """
import json, sys
from pathlib import Path
import edge_adapt
import numpy, onnxruntime, PIL

answers = {}
for model, samples in (("characters", "characters"), ("photos", "photos"), ("photos-small", "photos")):
    folder = Path(sys.argv[1]) / samples
    mine = edge_adapt.adapt(folder / "support", model=model, provider="cpu")
    for image in sorted((folder / "query").rglob("*.*")):
        prediction = mine.classify(image)
        answers[f"{model}: {image.parent.name}/{image.name}"] = prediction.label, prediction.confidence
versions = [f"{package.__name__} {package.__version__}" for package in (numpy, onnxruntime, PIL)]
json.dump({"versions": [f"Python {sys.version.split()[0]}", *versions], "answers": answers}, sys.stdout)
"""


def main() -> None:
    """Print a line for each environment."""
    pythons = sys.argv[1:] or [sys.executable]
    with tempfile.TemporaryDirectory() as folder:
        wheel = built_wheel(Path(folder))
        first: Answers = {}
        for python, packages in _environments(pythons):
            found = _answers(Path(folder), python, wheel, packages)
            if found is None:
                continue
            first = first or found["answers"]
            if difference(found, first)[0]:
                sys.exit(1)


def built_wheel(folder: Path) -> Path:
    """The wheel of this checkout, in a folder that has no other."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    return wheel


def answers_of(python: Sequence[str], folder: Path) -> Any:
    """What a Python, started in a folder, answers about the samples: `versions`, a list of texts, and `answers`."""
    command = [*python, "-I", "-c", ANSWERS, str(ROOT / "samples")]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout)


def difference(found: Any, first: Answers) -> tuple[int, dict[str, float]]:
    """How many labels are not those of `first`, and how far each model's confidences are apart at most; both are printed."""
    answers, apart = found["answers"], dict[str, float]()
    other = sum(answers[image][0] != label for image, (label, _) in first.items())
    for image, (_, confidence) in first.items():
        model = image.partition(":")[0]
        apart[model] = max(apart.get(model, 0.0), abs(answers[image][1] - confidence))
    said = ", ".join(f"{model} {most:.1e}" for model, most in apart.items())
    print(f"{', '.join(found['versions'])}: {len(answers)} answers, {other} other labels, confidence apart: {said}")
    return other, apart


def _environments(pythons: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    for python in pythons:
        yield python, NEWEST
        yield python, OLDEST


def _answers(folder: Path, python: str, wheel: Path, packages: Sequence[str]) -> Any:
    """What an environment answers; None where it cannot be had."""
    with tempfile.TemporaryDirectory(dir=folder) as environment:
        subprocess.run([python, "-m", "venv", environment], check=True)
        inside = str(Path(environment) / ("Scripts" if os.name == "nt" else "bin") / "python")
        install = [inside, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", str(wheel), *packages]
        if subprocess.run(install, check=False, stderr=subprocess.DEVNULL).returncode:
            print(f"{python}: there are no wheels of {', '.join(packages)}")
            return None
        return answers_of([inside], Path(environment))


if __name__ == "__main__":
    main()
