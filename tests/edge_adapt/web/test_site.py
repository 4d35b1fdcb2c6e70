"""A site: what it consists of, and the folder that it is written to."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.model import MODELS
from edge_adapt.web.site import MODEL, SERVICE_WORKER, page_files, site_files, write_site

TINY = Path(__file__).parents[2] / "data" / "tiny.edge"


@pytest.fixture
def files(package: Path) -> dict[str, bytes]:
    return site_files(TINY, package)


def first_line(worker: bytes) -> dict[str, object]:
    read: dict[str, object] = json.loads(worker.split(b"\n")[0].removeprefix(b"self.EDGE_ADAPT_SITE=").rstrip(b";"))
    return read


def test_a_site_holds_the_page_the_bundle_and_its_runtime(files: dict[str, bytes]) -> None:
    assert set(page_files()) < set(files)
    assert files[MODEL] == TINY.read_bytes()
    assert {"ort/ort.wasm.min.mjs", "ort/LICENSE", "index.html", "site.webmanifest"} < set(files)


def test_a_bundled_model_goes_by_its_name(package: Path) -> None:
    assert site_files("characters", package)[MODEL] == (MODELS / "characters.edge").read_bytes()


def test_the_service_worker_knows_every_other_file_and_changes_with_each(
    files: dict[str, bytes], package: Path
) -> None:
    assert list(files)[-1] == SERVICE_WORKER
    said = first_line(files[SERVICE_WORKER])
    assert said["files"] == sorted(set(files) - {SERVICE_WORKER})
    assert files == site_files(TINY, package)
    (package / "dist" / "ort.wasm.min.mjs").write_bytes(b"another")
    assert first_line(site_files(TINY, package)[SERVICE_WORKER])["version"] != said["version"]


def test_the_manifest_of_the_app_names_icons_that_are_there(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["site.webmanifest"])
    assert all(icon["src"] in files for icon in manifest["icons"])
    assert {"192x192", "512x512"} <= {icon["sizes"] for icon in manifest["icons"]}
    assert any(icon.get("purpose") == "maskable" for icon in manifest["icons"])
    assert manifest["start_url"] == manifest["scope"] == "./" and manifest["display"] == "standalone"


def test_the_page_allows_no_address_but_its_own() -> None:
    policy = re.search(rb'content="(default-src[^"]*)"', page_files()["index.html"])
    assert policy is not None and b"http" not in policy[1] and b"*" not in policy[1]
    assert (
        b"default-src 'none'" in policy[1] and b"connect-src 'self'" in policy[1] and b"unsafe-inline" not in policy[1]
    )


def test_the_page_is_small_for_a_slow_network() -> None:
    assert sum(len(gzip.compress(data)) for data in page_files().values()) < 150_000


def test_a_site_is_written_whole_and_again_without_what_it_no_longer_has(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "site"
    more = {"old/file.js": b"1", **files}
    more[SERVICE_WORKER] = more[SERVICE_WORKER].replace(b'"files": [', b'"files": ["old/file.js", "../../kept", ')
    (tmp_path / "kept").write_bytes(b"not of the site")
    write_site(more, folder)
    write_site(files, folder)
    written = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert written == files
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["thesis.txt", SERVICE_WORKER])
def test_a_folder_of_something_else_is_left_alone(files: dict[str, bytes], tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("years of work")
    with pytest.raises(EdgeAdaptError, match="mine holds files that are no site of edge-adapt; choose a new"):
        write_site(files, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]


def test_a_file_is_no_folder(files: dict[str, bytes]) -> None:
    with pytest.raises(EdgeAdaptError, match="choose another folder"):
        write_site(files, __file__)


def test_a_damaged_model_makes_no_site(package: Path, tmp_path: Path) -> None:
    data = bytearray(TINY.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.edge").write_bytes(data)
    with pytest.raises(BundleError, match=r"damaged\.edge"):
        site_files(tmp_path / "damaged.edge", package)
