"""What the browser page costs: until it is ready, to learn, a frame of the camera; and how exact its pixels are.

    python benchmarks/page.py [--model photos-small] [--rounds 5]

Needs Chromium, the Python package playwright and `npm ci --ignore-scripts` in runtime/web. The site is served from loopback; ONNX
Runtime Web has one thread. Times are by the clock, the least of the rounds: let the machine rest.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image

from benchmarks.measuring import machine, table
from edge_adapt.runtime.model import load_model
from edge_adapt.web.site import site_files, write_site
from tests.browser import NODE_MODULES, chromium, http_server
from tests.page_visit import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SAMPLES = Path(__file__).parents[1] / "samples"
WAYS, SHOTS, STEPS = 5, 5, 20
CAMERA_SECONDS = 5

# Counts what the page asks its worker: a frame of the camera is one.
_COUNT_FRAMES = """
window.frames_asked = 0;
const post = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (...values) {
  if (values[0].verb === "classify") window.frames_asked += 1;
  return post.apply(this, values);
};
"""

_ADAPT = """async ([graph, rows, ways, steps, rounds]) => {
  const ort = await import(new URL("ort/ort.wasm.min.mjs", location.href).href);
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(Uint8Array.from(atob(graph), (one) => one.charCodeAt(0)));
  const feeds = {
    features: new ort.Tensor("float32", Float32Array.from(rows.flat()), [rows.length, rows[0].length]),
    targets: new ort.Tensor("int64", BigInt64Array.from(rows, (_, index) => BigInt(index % ways)), [rows.length]),
    n_way: new ort.Tensor("int64", BigInt64Array.of(BigInt(ways)), []),
    steps: new ort.Tensor("int64", BigInt64Array.of(BigInt(steps)), []),
  };
  const times = [];
  for (let round = 0; round < rounds; round += 1) {
    const begun = performance.now();
    await session.run(feeds);
    times.push(performance.now() - begun);
  }
  return times;
}"""

_PIXELS = """async (url) => {
  const image = await (await fetch(url)).blob();
  const stored = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(image, stored);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const row = 4 * bitmap.width;
  const rows = Array.from({ length: bitmap.height }, (_, index) => data.subarray(row * index, row * (index + 1)));
  return btoa(rows.map((bytes) => String.fromCharCode(...bytes)).join(""));
}"""


def milliseconds(seconds: list[float]) -> str:
    """The least."""
    return f"{1e3 * min(seconds):.0f}"


def visit_times(browser: Browser, address: str, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds until the page is ready: at the first visit, and at the second without a network."""
    first, second = [], []
    for _ in range(rounds):
        context = browser.new_context()
        page = context.new_page()
        first.append(_until_ready(page, lambda page: page.goto(address)))
        Visit(page).works_offline()
        context.set_offline(True)
        second.append(_until_ready(page, lambda page: page.reload()))
        context.close()
    return first, second


def _until_ready(page: Page, open_it: Any) -> float:
    begun = time.perf_counter()
    open_it(page)
    Visit(page).ready()
    return time.perf_counter() - begun


def work_times(
    browser: Browser, address: str, folder: Path, rounds: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds to learn a folder of photos and of an edit with its estimate, and of a frame of the camera after that."""
    learn, edit, frames = [], [], []
    for _ in range(rounds):
        context = browser.new_context(permissions=["camera"])
        page = context.new_page()
        page.add_init_script(_COUNT_FRAMES)
        page.goto(address)
        visit = Visit(page)
        visit.ready()
        page.get_by_label("Choose a folder").set_input_files(folder)
        page.locator(".teach .photos img").nth(WAYS * SHOTS - 1).wait_for()
        begun = time.perf_counter()
        visit.learn()
        learn.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        page.locator(".teach article").first.get_by_role("button", name="Remove").click()
        visit.says("is gone")
        visit.idle()
        edit.append(time.perf_counter() - begun)
        page.get_by_role("button", name="Start the camera").click()
        page.locator(".live .answer").wait_for()
        before, begun = page.evaluate("window.frames_asked"), time.perf_counter()
        page.wait_for_timeout(1e3 * CAMERA_SECONDS)
        frames.append((time.perf_counter() - begun) / (page.evaluate("window.frames_asked") - before))
        context.close()
    return learn, edit, frames


def adapt_times(page: Page, model: str, rounds: int) -> list[float]:
    """Seconds of `adapt` by itself, with the features of WAYS x SHOTS images given."""
    bundle = load_model(model, "cpu").graphs.bundle
    features = np.random.default_rng(0).normal(size=(WAYS * SHOTS, bundle.manifest.feature_size))
    graph = base64.b64encode(bundle.graph("adapt.onnx")).decode()
    times: list[float] = page.evaluate(_ADAPT, [graph, features.tolist(), WAYS, STEPS, rounds])
    return [one / 1e3 for one in times]


def pixel_rows(page: Page, served: str, root: Path) -> Iterator[list[str]]:
    """How far the browser's pixels are from Pillow's, over the samples."""
    for what, pattern in (("PNG", "characters/query/*/*.png"), ("JPEG", "photos/query/*/*.jpg")):
        differences = []
        for path in sorted(root.glob(pattern))[::5]:
            read = base64.b64decode(page.evaluate(_PIXELS, served + path.relative_to(root).as_posix()))
            ours = np.asarray(Image.open(path).convert("RGB"), dtype=np.int16)
            theirs = np.frombuffer(read, np.uint8).reshape(*ours.shape[:2], 4)[..., :3]
            differences.append(np.abs(theirs - ours).ravel())
        every = np.concatenate(differences)
        share = f"{np.mean(every <= 1):.4%}"
        yield [what, str(len(differences)), f"{np.mean(every == 0):.4%}", share, str(int(every.max()))]


def main() -> None:
    """Measure, and print two tables."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="photos-small")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    camera = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with (
        tempfile.TemporaryDirectory() as made,
        sync_playwright() as playwright,
        chromium(playwright, *camera) as browser,
    ):
        root = Path(made)
        write_site(site_files(arguments.model, NODE_MODULES / "onnxruntime-web"), root / "site")
        (root / "samples").symlink_to(SAMPLES)
        for folder in sorted((SAMPLES / "photos" / "support").iterdir())[:WAYS]:
            shutil.copytree(folder, root / "few" / folder.name)
        with http_server(root) as served:
            print(machine())
            first, second = visit_times(browser, f"{served}site/", arguments.rounds)
            learn, edit, frames = work_times(browser, f"{served}site/", root / "few", arguments.rounds)
            page = browser.new_page()
            page.goto(f"{served}site/")
            adapt = adapt_times(page, arguments.model, 10 * arguments.rounds)
            rows = [
                ["until ready, first visit", milliseconds(first)],
                ["until ready, second visit without a network", milliseconds(second)],
                [f"learn {WAYS} classes of {SHOTS} photos, estimate included", milliseconds(learn)],
                ["an edit, estimate included", milliseconds(edit)],
                ["a frame of the camera, shown and classified", milliseconds(frames)],
                [f"adapt, features given, {STEPS} steps", f"{1e3 * min(adapt):.1f}"],
            ]
            print(table(["least of the rounds", "ms"], rows))
            columns = ["pixels", "images", "equal to Pillow's", "at most 1 of 255 apart", "farthest"]
            print(table(columns, list(pixel_rows(page, f"{served}samples/", root / "samples"))))


if __name__ == "__main__":
    main()
