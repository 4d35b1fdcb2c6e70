"""The programs of samples/plain_onnx: what they say of the samples is what edge-adapt says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
from PIL import Image

from edge_adapt import Classifier, Prediction, load_model
from edge_adapt.runtime.images.preprocessing import preprocess

SAMPLES = Path(__file__).parents[1] / "samples"
PROGRAMS = SAMPLES / "plain_onnx"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (PROGRAMS / "node_modules").exists(),
    reason="Node or its ONNX Runtime is not here: run `npm install --ignore-scripts` in samples/plain_onnx",
)

HEADERS = Path("/usr/include/onnxruntime")
"""Where Debian has them. Those in a folder that CPLUS_INCLUDE_PATH names are found, too."""


def has_headers() -> bool:
    """Whether a C++ compiler is here, and finds the headers of ONNX Runtime and of nlohmann/json."""
    compiler = shutil.which("c++")
    source = "#include <onnxruntime_cxx_api.h>\n#include <nlohmann/json.hpp>\n"
    command = [compiler or "", "-M", f"-I{HEADERS}", "-x", "c++", "-"]
    if compiler is None:
        return False
    return not subprocess.run(command, input=source.encode(), capture_output=True, check=False).returncode


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the programs in C++, linked with the ONNX Runtime that Python has here."""
    libraries = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not libraries or not has_headers():
        pytest.skip("no C++ compiler, headers or library of ONNX Runtime: see docs/plain-onnx.md")
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(libraries[0])
    for name in ("classify", "adapt"):
        command = ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", PROGRAMS / f"{name}.cpp", "-o", folder / name]
        link = [f"-I{HEADERS}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime"]
        subprocess.run(list(map(str, [*command, *link])), check=True)
    return folder


@pytest.fixture(scope="module")
def mine() -> Classifier:
    """Adapted to the sample drawings."""
    support = SAMPLES / "characters" / "support"
    return load_model("characters", "cpu").adapt(
        {folder.name: sorted(folder.iterdir()) for folder in sorted(support.iterdir())}
    )


@pytest.fixture(scope="module")
def folder(mine: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as PGM files of the model's size, and the classifier, baked where that is possible."""
    folder = tmp_path_factory.mktemp("plain")
    for file in (SAMPLES / "characters").rglob("*.png"):
        target = (folder / file.relative_to(SAMPLES / "characters")).with_suffix(".pgm")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(preprocess(Image.open(file), mine.manifest.preprocessing)[..., 0]).save(target)
    return folder


@pytest.fixture(scope="module")
def baked(mine: Classifier, folder: Path) -> Path:
    """The classifier as one graph."""
    pytest.importorskip("onnx")
    from edge_adapt import bake

    bake(mine, folder / "mine.onnx", metadata=folder / "mine.json")
    return folder / "mine.onnx"


def printed(*command: str | Path) -> list[list[str]]:
    """The fields of the lines that a program prints."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def said(mine: Classifier, folder: Path) -> dict[str, Prediction]:
    """What edge-adapt says of each query, by its file."""
    files = sorted((folder / "query").rglob("*.pgm"))
    answers = mine.classify_all(files)
    return {str(file): answer for file, answer in zip(files, answers, strict=True) if isinstance(answer, Prediction)}


def assert_as_said(lines: list[list[str]], expected: dict[str, Prediction]) -> None:
    assert [path for path, *_ in lines] == list(expected) and len(lines) == 120
    for path, label, probability in lines:
        assert label == (expected[path].label if expected[path].known else "unknown")
        assert float(probability) == pytest.approx(expected[path].confidence, abs=1e-4)


def test_classify_in_python(mine: Classifier, folder: Path, baked: Path) -> None:
    expected = said(mine, folder)
    assert_as_said(printed(sys.executable, PROGRAMS / "classify.py", baked, *expected), expected)


@needs_node
def test_classify_in_node(mine: Classifier, folder: Path, baked: Path) -> None:
    expected = said(mine, folder)
    program = PROGRAMS / "classify.mjs"
    assert_as_said(printed("node", program, baked, baked.with_suffix(".json"), *expected), expected)


@needs_node
def test_adapt_in_node(mine: Classifier, folder: Path) -> None:
    expected = said(mine, folder)
    support = sorted((folder / "support").rglob("*.pgm"))
    lines = printed("node", PROGRAMS / "adapt.mjs", mine.graphs.bundle.path, *support, "--", *expected)
    assert dict(lines) == {path: prediction.label for path, prediction in expected.items()}


def test_classify_in_cpp(mine: Classifier, folder: Path, baked: Path, compiled: Path) -> None:
    expected = said(mine, folder)
    assert_as_said(printed(compiled / "classify", baked, *expected), expected)


def test_adapt_in_cpp(mine: Classifier, folder: Path, compiled: Path) -> None:
    expected = said(mine, folder)
    support = sorted((folder / "support").rglob("*.pgm"))
    lines = printed(compiled / "adapt", mine.graphs.bundle.path, *support, "--", *expected)
    assert dict(lines) == {path: prediction.label for path, prediction in expected.items()}


@pytest.mark.parametrize(
    ("name", "fault"), [("short.ppm", "ends before"), ("text.txt", "binary PPM"), ("no.ppm", "no.ppm")]
)
def test_a_picture_that_is_none_in_cpp(folder: Path, baked: Path, compiled: Path, name: str, fault: str) -> None:
    (folder / "short.ppm").write_bytes(b"P6 28 28 255\n1234")
    (folder / "text.txt").write_text("no picture")
    command = list(map(str, [compiled / "classify", baked, folder / name]))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and fault in done.stderr and done.stderr.count("\n") == 1
