"""The device side on a 64-bit ARM, emulated: python -m tests.arm64

Unpacks Debian's Python for arm64 into a folder, installs the wheel beside it with the wheels of what it needs there, and lets it
adapt to both sets of samples and classify them with all bundled models, under QEMU. Labels must be those of this machine, and
confidences close to them. Takes minutes, a package mirror and a package index; nothing is installed here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.old_and_new import answers_of, built_wheel, difference

SUITE = "bookworm"
"""Of Debian, which Raspberry Pi OS follows."""

APART = {"characters": 1e-3, "photos": 3e-2, "photos-small": 3e-2}
"""Confidences of each model at most. In 8 bits the order of a sum changes what is rounded up, and with it features of a photo by
2%; on one machine so do the levels of ONNX Runtime's optimization."""

_EMULATOR = "qemu-aarch64-static"
_CPU = "cortex-a72"  # of the Raspberry Pi 4
_CPUINFO = """processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""
"""What /proc/cpuinfo says on that board; QEMU shows the one of this machine, on which ONNX Runtime's detection of ARM crashes."""

_GLIBC = (28, 27, 26, 24, 17)
"""2.x that wheels may ask for: 2.28 and older, which boards of these years have."""


def main() -> None:
    """Compare this machine and the emulated one."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("debootstrap", "dpkg-deb", _EMULATOR))):
        sys.exit("This takes root, debootstrap and QEMU: on Debian, `apt-get install debootstrap qemu-user-static`.")
    with tempfile.TemporaryDirectory() as folder:
        wheel = built_wheel(Path(folder))
        system = Path(folder) / "arm64"
        python = _unpacked_python(system)
        _install(f"{wheel}[cpu]", system, python.name)
        here = answers_of([sys.executable], Path(folder))
        difference(here, here["answers"])
        emulated = [_EMULATOR, "-cpu", _CPU, "-L", str(system), str(python)]
        other, apart = difference(answers_of(emulated, Path(folder)), here["answers"])
    sys.exit(bool(other) or any(most > APART[model] for model, most in apart.items()))


def _unpacked_python(system: Path) -> Path:
    """Debian's Python with all that it needs; packages are unpacked, not configured, so that nothing of them runs before."""
    packages = "--include=python3,libstdc++6,zlib1g"
    bootstrap = ["debootstrap", "--arch=arm64", "--variant=minbase", packages, "--download-only", SUITE, str(system)]
    subprocess.run(bootstrap, check=True, stdout=subprocess.DEVNULL)
    for package in sorted((system / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", str(package), str(system)], check=True)
    (system / "proc/cpuinfo").write_text(_CPUINFO, encoding="ascii")
    return (system / "usr/bin/python3").resolve()


def _install(requirement: str, system: Path, python: str) -> None:
    """What a Python such as python3.11 finds in that system."""
    place = system / "usr/local/lib" / python / "dist-packages"
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in _GLIBC] + ["--platform=manylinux2014_aarch64"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary=:all:", f"--target={place}"]
    version = f"--python-version={python.removeprefix('python')}"
    subprocess.run([*install, version, *platforms, requirement], check=True)


if __name__ == "__main__":
    main()
