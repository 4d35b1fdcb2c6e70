"""What a confined process can still do. It tries, in a process of its own, and prints what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has none of these limits")

TRIES = """
import ctypes, json, os, resource, signal, socket, subprocess, sys, threading
import numpy
from edge_adapt.runtime.sandbox.confinement import confine

parent, here = os.getppid(), sys.argv[1]

def write():
    with open(os.path.join(here, "new"), "w") as stream:
        stream.write("x")

def thread():
    worker = threading.Thread(target=int)
    worker.start()
    worker.join()

def compute():
    assert numpy.ones((64, 64)).dot(numpy.ones((64, 64))).sum() == 64.0 ** 3

tries = {
    "read a file": lambda: open("/etc/passwd").close(),
    "write a file": write,
    "list a folder": lambda: os.listdir("/"),
    "remove a file": lambda: os.remove(os.path.join(here, "old")),
    "open a socket": lambda: socket.socket().connect(("127.0.0.1", 9)),
    "run a program": lambda: subprocess.run(["/bin/true"], check=True),
    "fork": lambda: os.fork() or os._exit(0),
    "signal its parent": lambda: os.kill(parent, 0),
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)),
    "take 200 MB": lambda: numpy.ones(200_000_000, numpy.uint8),
    "take 20 MB": lambda: numpy.ones(20_000_000, numpy.uint8),
    "pin its parent to a core": lambda: os.sched_setaffinity(parent, {0}),
    "start a thread": thread,
    "compute": compute,
    "read a limit": lambda: resource.getrlimit(resource.RLIMIT_STACK),
}
confined = confine(100_000_000)
came_of_it = {}
for name, try_it in tries.items():
    try:
        try_it()
        came_of_it[name] = True
    except (OSError, MemoryError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        came_of_it[name] = False
sys.stdout.write(json.dumps([confined, came_of_it]))
sys.stdout.flush()
os._exit(0)
"""


def test_a_confined_process_computes_and_does_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRIES, str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    confined, came_of_it = json.loads(ended.stdout or "null") or pytest.fail(ended.stderr)
    if confined != ["limits", "landlock", "seccomp"]:
        pytest.skip(f"this system has only {confined}")
    possible = {name for name, came in came_of_it.items() if came}
    assert possible == {"take 20 MB", "compute", "read a limit"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]
