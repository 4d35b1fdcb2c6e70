"""What is in deploy/: systemd takes the unit and finds little that it may do, and its command is one that exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import command_reference

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = DEPLOY / "edge-adapt.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze")
MOST_EXPOSED = 1.5
"""Of 10; systemd calls less than 2 OK."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)


@needs_systemd
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    program = shutil.which("true")
    assert program is not None
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", program, UNIT.read_text()))
    verified = analyze("verify", str(unit))
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_service_may_do_little() -> None:
    if "--offline" not in analyze("--help").stdout:
        pytest.skip("needs systemd 250 or newer")
    security = analyze("security", "--offline=true", str(UNIT))
    found = re.search(r"exposure level for \S+: ([\d.]+)", security.stdout)
    assert found is not None and float(found[1]) <= MOST_EXPOSED


def test_the_commands_are_those_of_this_version() -> None:
    (started,) = re.findall(r"^ExecStart=\S+ serve (.*)$", UNIT.read_text(), re.M)
    (entry,) = re.findall(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.M)
    for arguments in (started.split(), json.loads(entry)[2:]):
        given = command_reference.command("serve").make_context("serve", arguments).params
        assert given["host"] == "0.0.0.0" and given["token_file"] is not None


def test_the_container_takes_extras_that_exist() -> None:
    (extras,) = re.findall(r"/source\[([\w,]+)\]", (DEPLOY / "Containerfile").read_text())
    project = (DEPLOY.parent / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras.split(","):
        assert re.search(rf"^{extra} = \[", project, re.M)
