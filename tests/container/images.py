# SPDX-License-Identifier: Apache-2.0
"""The image, built from this checkout by Docker or Podman, and the ways in which it is run.

``BRAINMASK_IMAGE`` names one that has been built.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, missing

TOOLS = ROOT.parent / "shared" / "tools"
NAME = "localhost/bids-brainmask:test"
USER = "12345:54321"  # whom no image knows

# Podman without a daemon, as a machine wants it that has neither systemd nor the right to raise
# its limits, and as container_test.sh does it. That script keeps its images here.
STORE = Path(os.environ.get("CT_STORE", "/var/tmp/container-test"))
BARE_PODMAN = (
    *("podman", "--root", f"{STORE}/storage", "--runroot", f"{STORE}/run"),
    *("--storage-driver", "overlay", "--runtime", "runc", "--cgroup-manager", "cgroupfs"),
)


def done(command, **settings) -> subprocess.CompletedProcess:
    """Run a command, and take what it says, on both streams, as its output."""
    return subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **settings,
    )


@dataclass(frozen=True)
class Image:
    """An image, and the program that runs it."""

    engine: tuple[str, ...]
    name: str

    def run(self, *args, options=(), program=None, user=USER) -> subprocess.CompletedProcess:
        """Run the image's entry point, or another of its programs, as any user."""
        podman = "--ulimit=nofile=1024:4096", "--ulimit=nproc=4096:4096"
        command = [*self.engine, "run", *(podman if "podman" in self.engine[0] else ())]
        command += ["--user", user, *options, *(["--entrypoint", program] if program else [])]
        return done([*command, self.name, *args])

    def strictly(self, *args, options=(), **how) -> subprocess.CompletedProcess:
        """Run it where nothing can be written, nobody reached, and no home is to be found."""
        strict = ["--rm", "--read-only", "--network=none", "--ipc=none", "--cap-drop=ALL"]
        strict += ["--security-opt=no-new-privileges", "--env=HOME=/nonexistent"]
        if "podman" in self.engine[0]:
            strict.append("--read-only-tmpfs=false")  # Docker mounts no /tmp of its own accord
        return self.run(*args, options=[*strict, *options], **how)

    def inspect(self) -> dict:
        """Tell all that is known of the image."""
        return json.loads(done([*self.engine, "image", "inspect", self.name]).stdout)[0]

    def said(self, program, *args) -> str:
        """Run one of its programs, and give what it printed."""
        ran = self.strictly(*args, program=program)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout


def take_base() -> None:
    """Take the base image from its registry, if that answers; else it is made of packages."""
    base = re.search(r"^ARG BASE=(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    if done([*BARE_PODMAN, "image", "exists", f"localhost/{base}"]).returncode == 0:
        return
    try:
        pulled = done([*BARE_PODMAN, "pull", f"docker.io/library/{base}"], timeout=300)
    except subprocess.TimeoutExpired:
        return
    if pulled.returncode == 0:
        done([*BARE_PODMAN, "tag", f"docker.io/library/{base}", f"localhost/{base}"])


def build() -> Image:
    """Build the image with what there is for it."""
    if shutil.which("docker") and done(["docker", "info"]).returncode == 0:
        engine, command = ("docker",), ("docker", "build", "--tag", NAME, ROOT)
    elif not shutil.which("buildah") or not shutil.which("podman"):
        missing("neither Docker nor Podman is here: apt-get install buildah podman runc")
    elif TOOLS.is_dir() and os.geteuid() == 0:
        take_base()
        engine = BARE_PODMAN
        command = ("bash", TOOLS / "container_test.sh", "-k", "-c", ROOT, "-t", NAME)
    else:
        engine, command = ("podman",), ("podman", "build", "--tag", NAME, ROOT)
    built = done(command)
    assert built.returncode == 0, built.stdout
    return Image(engine, NAME)
