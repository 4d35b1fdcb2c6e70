"""The description of the interface is true: its paths are those that there are, and what is drawn from it is answered so."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from edge_adapt.runtime.model import load_classifier, load_model
from edge_adapt.service import app
from edge_adapt.service.openapi import openapi
from tests.conftest import TINY
from tests.served import TOKEN, serving
from tests.tiny_model import photos

CASES = 10_000
"""Requests that are drawn from the description, valid ones and others."""


def test_every_path_is_described_and_every_name_in_it_is_there() -> None:
    described = openapi()
    assert set(described["paths"]) == set(app._HANDLERS)
    schemas = described["components"]["schemas"]
    used = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(described)))
    assert used == set(schemas)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="needs Schemathesis")
def test_whatever_is_drawn_from_it_is_answered_as_it_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.edge"
    load_model(TINY, "cpu").adapt(photos({"a": 2, "b": 4, "c": 2})).save(path)
    each = CASES // 10  # for each path, of which there are more; some take nothing that could be drawn
    with serving(path, token=TOKEN) as client:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{client.port}/openapi.json"),
            *(
                "--header",
                f"Authorization: Bearer {TOKEN}",
                "--max-examples",
                str(each),
                "--phases",
                "coverage,fuzzing",
            ),
            *("--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--seed", "1"),
        ]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-5000:]
        assert client.get("/health").status == 200
    load_classifier(path, "cpu").graphs.bundle.verify()
    found = re.search(r"([\d,]+) generated", run.stdout)
    assert found is not None and int(found[1].replace(",", "")) >= CASES
