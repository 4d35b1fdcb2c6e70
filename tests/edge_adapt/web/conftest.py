"""A package that passes for ONNX Runtime Web, without its megabytes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from edge_adapt.web import onnxruntime_web as source


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Its folder, as npm installs it."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": "onnxruntime-web", "version": source.VERSION}))
    for name in source.FILES:
        (folder / "dist" / name).write_bytes(f"of {name}".encode())
    return folder


@pytest.fixture
def tarball(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its tarball, which is taken for the one in the registry."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        archive.add(package, "package")
    path = tmp_path / "onnxruntime-web.tgz"
    path.write_bytes(stream.getvalue())
    monkeypatch.setattr(source, "SHA512", base64.b64encode(hashlib.sha512(stream.getvalue()).digest()).decode())
    return path
