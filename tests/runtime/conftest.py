"""What several tests of the runtime share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a test puts a bundle that it damages; a module's, because Hypothesis fills it many times."""
    return tmp_path_factory.mktemp("hostile") / "mine.edge"
