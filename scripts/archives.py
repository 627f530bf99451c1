# SPDX-License-Identifier: Apache-2.0
"""Build the sdist, and the wheel from it: the same commit gives the same bytes.

    python scripts/archives.py OUT [SOURCE]

Times in the archives are SOURCE_DATE_EPOCH, or that of the last commit. Owners, permissions and
the order of files are fixed. Needs the package `build`; without isolation if setuptools is there
and the variable BUILD_HERE is set.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def epoch(source: Path) -> int:
    """Time of the archives, in seconds since 1970."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(source), "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def build(kind: str, source: Path, out: Path, when: int) -> Path:
    """Build an sdist or a wheel, and give its path."""
    isolation = ["--no-isolation"] if os.environ.get("BUILD_HERE") else []
    command = [sys.executable, "-m", "build", f"--{kind}", *isolation, "--outdir", out, source]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(when)}
    subprocess.run([str(word) for word in command], check=True, env=environment, umask=0o022)
    (found,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return found


def repack(sdist: Path, when: int) -> None:
    """Write an sdist anew with fixed times, owners, permissions and order."""
    plain = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=plain, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda one: one.name):
            member.mtime, member.uid, member.gid = when, 0, 0
            member.uname = member.gname = ""
            member.pax_headers = {}
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=when) as packed:
        packed.write(plain.getvalue())


def main(out: Path, source: Path) -> None:
    """Build both."""
    when = epoch(source)
    out.mkdir(parents=True, exist_ok=True)
    sdist = build("sdist", source, out, when)
    repack(sdist, when)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        wheel = build("wheel", unpacked, out, when)
    print(sdist, wheel, sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "."))
