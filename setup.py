# SPDX-License-Identifier: Apache-2.0
"""Put the libraries that the reports run in a browser into the package, when it is built.

They come from the npm registry, each of one version and known by its hash, and are not kept in
the repository. Everything else about the build is in pyproject.toml.
"""

import base64
import hashlib
import io
import os
import tarfile
import urllib.request
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

REGISTRY = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")

WEB = Path(__file__).parent / "bids_brainmask" / "data" / "web"

PACKAGES = {
    # name, version: SHA-512 of the package as the registry publishes it, and the files wanted
    ("@niivue/niivue", "0.69.0"): (
        "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
        {"package/dist/niivue.umd.js": "niivue.umd.js"},  # its licence is in NOTICE
    ),
    ("tabulator-tables", "6.5.3"): (
        "nJ2QaqZzQvd9B4rf4LBnRxfb6sSqA/BX2OsXnSJ2d8k21oXDSTtFtOUrDap04a/6BDGivC/MByCxy43ugadJIg==",
        {
            "package/dist/js/tabulator.min.js": "tabulator.min.js",
            "package/dist/css/tabulator.min.css": "tabulator.min.css",
            "package/LICENSE": "tabulator.LICENSE",
        },
    ),
}


def fetch(name: str, version: str, sha512: str, files: dict[str, str]) -> None:
    """Download a package, compare its hash, and take files out of it."""
    url = f"{REGISTRY}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310 - https, above
            content = answer.read()
    except OSError as error:
        raise SystemExit(
            f"{url}: cannot be fetched: {error}. The reports' libraries come from the npm "
            "registry; NPM_CONFIG_REGISTRY names another one."
        ) from error
    found = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != sha512:
        raise SystemExit(f"{url}: its SHA-512 is {found}, expected {sha512}. Fetch it again.")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member, file in files.items():
            (WEB / file).write_bytes(archive.extractfile(member).read())


def fetch_all() -> None:
    """Fetch what is not there yet; a stamp says which versions are."""
    WEB.mkdir(exist_ok=True)
    stamp = WEB / "versions.txt"
    wanted = "".join(f"{name} {version}\n" for name, version in PACKAGES)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        for path in WEB.iterdir():
            path.unlink()  # of other versions
        for (name, version), (sha512, files) in PACKAGES.items():
            fetch(name, version, sha512, files)
        stamp.write_text(wanted, encoding="utf-8")


class SDist(sdist):
    """Fetch the libraries, so that the archive can be built without a network."""

    def run(self):
        """Fetch, then gather the files."""
        fetch_all()
        super().run()


class BuildPy(build_py):
    """Fetch the libraries before the package's files are gathered."""

    def run(self):
        """Fetch, then gather the files."""
        fetch_all()
        self.data_files = self._get_data_files()
        super().run()


setup(cmdclass={"build_py": BuildPy, "sdist": SDist})
