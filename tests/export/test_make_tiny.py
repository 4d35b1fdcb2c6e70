"""The script that makes tests/data/tiny.edge still works, and still makes what is committed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.self_check import self_check
from tests.conftest import TINY
from tests.data import make_tiny


def manifest_of(path: Path) -> dict[str, Any]:
    """manifest.json without the sums of the graphs, which differ between releases of the exporter."""
    with zipfile.ZipFile(path) as archive:
        manifest: dict[str, Any] = json.loads(archive.read("manifest.json"))
    del manifest["graphs"], manifest["golden"]["features"], manifest["golden"]["logits"]
    return manifest


def test_the_committed_bundle_is_what_the_script_makes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.edge"
    write_bundle(path, make_tiny.manifest(), make_tiny.graphs())
    assert manifest_of(path) == manifest_of(TINY)
    for bundle in (path, TINY):
        assert max(self_check(Graphs(Bundle.open(bundle), "cpu")).values()) < 1e-5
    assert path.stat().st_size < 11_000
