"""The library of runtime/web, run in Node by a test."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

WEB = Path(__file__).parents[1] / "runtime" / "web"

needs_web = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB / "node_modules").exists(),
    reason="Node or the packages of runtime/web are not here: run `npm ci --ignore-scripts` in runtime/web",
)

OnnxRuntime = Literal["onnxruntime-node", "onnxruntime-web/wasm"]


def build() -> None:
    """Compile the library."""
    subprocess.run(["npm", "run", "build", "--silent"], cwd=WEB, check=True, timeout=300)


class Program:
    """What `runtime/web/tests/answers.mjs` answers.

    Args:
        folder: where its images and jobs lie.
        runtime: what runs its graphs.
    """

    def __init__(self, folder: Path, runtime: OnnxRuntime) -> None:
        self._folder = folder
        self._runtime = runtime
        self._images: list[dict[str, object]] = []

    def image(self, pixels: NDArray[np.uint8], name: str = "", sha256: str = "") -> int:
        """The number of a further image, uint8 [H, W, 3] or [H, W, 4]."""
        height, width, channels = pixels.shape
        number = len(self._images)
        file = self._folder / f"{number}.rgba"
        opaque = np.full((height, width, 4 - channels), 255, np.uint8)
        file.write_bytes(np.concatenate([pixels, opaque], axis=2).tobytes())
        described: dict[str, object] = {"file": str(file), "width": width, "height": height}
        self._images.append(described | ({"name": name} if name else {}) | ({"sha256": sha256} if sha256 else {}))
        return number

    def does(self, *does: dict[str, Any]) -> list[Any]:
        """What is answered to each thing that is to be done; an EdgeAdaptError is an object of `error` and `message`."""
        job = self._folder / "job.json"
        job.write_text(json.dumps({"images": self._images, "does": does}, default=str), encoding="utf-8")
        command = ["node", str(WEB / "tests" / "answers.mjs"), self._runtime, str(job)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        return [answer.get("answer", answer) for answer in answers]
