# SPDX-License-Identifier: Apache-2.0
"""Models by name, from the cache, from servers that fail in all ways, from DataLad clones."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pooch
import pytest
from conftest import missing

from bids_brainmask.analyses import catalog
from bids_brainmask.errors import ModelError
from bids_brainmask.models import download, registry

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()

TABLES = """
[embedded]
version = "1"
task = "brain"
file = "embedded.npz"
size = {size}
sha256 = "{sha256}"
license = "Apache-2.0"
architecture = "compact"
grid = "head"
intensities = "robust"
block = 0
threshold = 0.5
memory_gb = 2.0
citation = "nobody"

[brainy]
version = "1"
task = "brain"
file = "brainy.h5"
url = "{url}"
datalad = "nets/brainy/weights/original.h5"
size = {size}
sha256 = "{sha256}"
license = "Apache-2.0"
architecture = "seed"
grid = "fsconform"
intensities = "zscore"
block = 128
threshold = 0.3
memory_gb = 4.0
citation = "nobody"
"""


def tables(url="http://127.0.0.1:9/brainy.h5"):
    """Text of a registry whose models all have the same stand-in for a file."""
    return TABLES.format(url=url, size=len(CONTENT), sha256=SHA256)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv(registry.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def known(monkeypatch):
    """A function that makes some text the registry; one without a server, to begin with."""

    def use(text):
        monkeypatch.setattr(registry, "models", lambda: registry.parse(text))

    use(tables())
    return use


class Handler(BaseHTTPRequestHandler):
    """Answers by the first folder of the address."""

    def do_GET(self):
        self.server.requests[self.path] += 1
        kind = self.path.removeprefix("http://models.invalid").split("/")[1]
        getattr(self, f"answer_{kind}", self.answer_absent)()

    def answer(self, content, length=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def answer_whole(self):
        self.answer(CONTENT)

    def answer_slow(self):
        time.sleep(0.5)  # so that all the clients are at it at once
        self.answer(CONTENT)

    def answer_short(self):
        self.answer(CONTENT[:-1])

    def answer_cut(self):
        self.answer(CONTENT[:-1], len(CONTENT))

    def answer_tampered(self):
        self.answer(CONTENT[:-1] + b"!")

    def answer_absent(self):
        self.send_error(404)

    def answer_busy(self):
        self.send_error(503) if self.server.requests[self.path] == 1 else self.answer_whole()

    def answer_dropped(self):
        if self.server.requests[self.path] > 1:
            self.answer_whole()

    def answer_halfway(self):
        self.answer(CONTENT if self.server.requests[self.path] > 1 else CONTENT[:9999], 2**20)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server on this machine, which no proxy stands before; retries come at once."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(download, "RETRIES", 2)
    monkeypatch.setattr(pooch.core, "time", SimpleNamespace(sleep=lambda _: None))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = Counter()
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def held(folder: Path) -> list[str]:
    """Names of all that a folder holds, partial files too."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# The registry as text


def test_the_shipped_registry():
    text = registry._packaged("models.toml").read_text()
    text = text.replace('sha256 = ""', f'sha256 = "{SHA256}"').replace("size = 0\n", "size = 1\n")
    found = registry.parse(text)
    for row in catalog.ANALYSES:
        for name in row.default_models:
            assert found[name].task == row.name
        assert not row.has_model or not found[row.default_models[-1]].url
    assert {model.task for model in found.values()} == set(catalog.with_model())
    assert found["brainy"].size == 19169888
    assert found["brainy"].url.startswith("https://")
    assert found["embedded"].architecture == "compact"


def test_models_parses_the_packaged_text(tmp_path, monkeypatch):
    (tmp_path / "models.toml").write_text(tables())
    monkeypatch.setattr(registry, "_packaged", lambda file: tmp_path / file)
    assert list(registry.models()) == ["embedded", "brainy"]


def test_parse_gives_what_the_text_says():
    model = registry.parse(tables())["brainy"]
    assert (model.name, model.file, model.size) == ("brainy", "brainy.h5", len(CONTENT))
    assert (model.block, model.threshold, model.path) == (128, 0.3, None)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[embedded]", "[embedded", "not valid TOML"),
        ("[embedded]", "date = 2\n[embedded]", r"\[date\]: found 2, expected a table"),
        ("block = 0", "blocks = 0", r"\[embedded\]: unknown key 'blocks'; expected among"),
        ("block = 0", 'path = "x"', r"\[embedded\]: unknown key 'path'"),
        (f'sha256 = "{SHA256}"\n', "", r"\[embedded\]: .*missing required field `sha256`"),
        (SHA256, "", r"\[embedded\]: key 'sha256' is '', expected 64 lower-case hex digits"),
        (SHA256, SHA256.upper(), "key 'sha256' .* expected 64 lower-case hex digits"),
        ("size = 1048576", "size = 0", "key 'size' is 0, expected a number of bytes above 0"),
        ("size = 1048576", "size = true", "key 'size' is True, expected a number of bytes"),
        ('"brain"', "1", "key 'task' is 1, expected of type str"),
        ('"compact"', '"vast"', "'architecture' is 'vast', expected seed or compact or keras"),
        ('"robust"', '"bright"', "'intensities' is 'bright', expected zscore or robust or brain"),
        ("threshold = 0.5", "threshold = 50", "'threshold' is 50, expected a probability"),
        ("threshold = 0.5", "threshold = 0.5\nnear_brain = -1.0", "expected a number of mm, or 0"),
        ("threshold = 0.5", "threshold = 0.5\npeak = 1.0", r"expected a probability in \[0, 1\)"),
        ("threshold = 0.5", 'threshold = "x"', "'threshold' is 'x', expected a probability"),
        ("block = 0", "block = -1", "'block' is -1, expected a number of voxels"),
        ("block = 0", "block = 0\nheight = -32", "'height' is -32, expected a number of voxels"),
        (
            "block = 0",
            "block = 0\nheight = 200",
            "'height' is 200, expected a multiple of 32",
        ),
        ('"embedded.npz"', '"../embedded.npz"', "'file' is .* a file name without a folder"),
        (
            "block = 0",
            "block = 0\nconfidence = [1, 2]",
            "'confidence' is .* five numbers, or none",
        ),
        ("block = 0", 'block = 0\nconfidence = "high"', "'confidence' is .* five numbers"),
        ("block = 0", "block = 0\nconfidence = [1, 2, 3, 4, 'x']", "'confidence' is .* five num"),
        ("block = 0", "block = 0\nflips = 1", "key 'flips' is 1, expected of type bool"),
        ("threshold = 0.5", "threshold = nan", "'threshold' is nan, expected a probability"),
        ('"embedded.npz"', '".."', "'file' is '..', expected a file name without a folder"),
        ("block = 0", "block = 0\ndivisor = 0", "'divisor' is 0, expected a number of voxels"),
        ('url = "http:', 'url = "ftp:', r"\[brainy\]: key 'url' is .* http or https"),
    ],
)
def test_parse_names_table_and_key_of_a_fault(old, new, message):
    assert old in tables()
    with pytest.raises(ModelError, match=message):
        registry.parse(tables().replace(old, new, 1))


def test_the_module_imports_no_heavy_package():
    code = "import sys, bids_brainmask.models.registry as r; r.cache_dir(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "h5py", "keras", "pooch", "requests"} & set(done.stdout.split())


# Where files are


def test_cache_dir_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv(registry.FOLDER_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert registry.cache_dir() == Path("/home/somebody/.cache/bids_brainmask")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert registry.cache_dir() == Path("/home/somebody/.cache/bids_brainmask")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert registry.cache_dir() == tmp_path / "bids_brainmask"
    monkeypatch.setenv(registry.FOLDER_VARIABLE, str(tmp_path / "models"))
    assert registry.cache_dir() == tmp_path / "models"


def test_a_user_without_a_home_can_look_but_not_fetch(monkeypatch, known, server):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(registry.FOLDER_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert not registry.cache_dir().exists()
    assert catalog.analysis("brain").model().name == "embedded"
    with pytest.raises(ModelError, match=r"cannot keep models there .*BIDS_BRAINMASK_MODELS"):
        download.get("brainy")
    assert not server.requests


def test_find_gives_only_a_verified_file(cache, known):
    with pytest.raises(ModelError, match=r"brainy.h5 is not in .*: brainmask models get brainy"):
        registry.find("brainy")
    cache.mkdir()
    (cache / "brainy.h5").write_bytes(CONTENT)
    assert registry.find("brainy") == cache / "brainy.h5"
    (cache / "brainy.h5").write_bytes(CONTENT[1:])
    with pytest.raises(ModelError, match="found 1048575 bytes, expected 1048576"):
        registry.find("brainy")
    with pytest.raises(ModelError, match="unknown model 'brain'; expected one of embedded, brai"):
        registry.find("brain")


def test_find_looks_into_another_folder_and_a_clone(cache, known, tmp_path):
    path = tmp_path / "clone" / "nets/brainy/weights/original.h5"
    with pytest.raises(
        ModelError, match=r"Fetch it once: BIDS_BRAINMASK_MODELS=.*clone brainmask"
    ):
        registry.find("brainy", tmp_path / "clone")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert registry.find("brainy", tmp_path / "clone") == path


def test_the_embedded_model_is_in_the_package(cache, known, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_packaged", lambda file: tmp_path / file)
    with pytest.raises(ModelError, match=r"embedded.npz: this file of the package is missing"):
        registry.find("embedded")
    path = tmp_path / "weights/embedded.npz"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert registry.find("embedded") == download.get("embedded") == path
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ModelError, match=r"found SHA-256 .* Install the package again"):
        registry.find("embedded")


def test_verify_says_what_was_found_and_wanted(known, tmp_path):
    model = registry.models()["brainy"]
    path = tmp_path / "file"
    with pytest.raises(ModelError, match="file: cannot be read: No such file"):
        registry.verify(path, model)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ModelError, match=f"file: found SHA-256 .*expected {SHA256}. Fetch it ag"):
        registry.verify(path, model)
    path.write_bytes(CONTENT)
    registry.verify(path, model)


def test_a_folder_that_may_not_be_looked_into_holds_nothing(cache, known, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert catalog.analysis("brain").model().name == "embedded"


# What is meant


def test_resolve_auto_takes_brainy_where_it_is_whole(cache, known, caplog):
    caplog.set_level(logging.INFO, "bids_brainmask.models.registry")
    assert catalog.analysis("brain").model().name == "embedded"
    assert "brainy has not been fetched" in caplog.text
    cache.mkdir()
    (cache / "brainy.h5").write_bytes(CONTENT)
    assert catalog.analysis("brain").model().name == "brainy"
    assert "model: brainy" in caplog.text
    (cache / "brainy.h5").write_bytes(b"")
    assert catalog.analysis("brain").model().name == "embedded"
    assert caplog.records[-1].levelname == "WARNING"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("mine.h5", ("seed", "fsconform", "zscore", 128, 0.3)),
        ("mine.hdf5", ("seed", "fsconform", "zscore", 128, 0.3)),
        ("mine.keras", ("keras", "fsconform", "zscore", 128, 0.3)),
        ("mine.npz", ("compact", "head", "brain", 0, 0.5)),
    ],
)
def test_resolve_describes_a_file(tmp_path, known, file, expected):
    path = tmp_path / file
    path.write_bytes(b"content")
    model = registry.resolve(path)
    assert registry.resolve(str(path)) == model
    assert (model.name, model.version, model.task) == ("mine", "local", "brain")
    assert (model.path, model.size) == (path, 7)
    assert model.sha256 == hashlib.sha256(b"content").hexdigest()
    found = (model.architecture, model.grid, model.intensities, model.block, model.threshold)
    assert found == expected


def test_a_file_for_meningioma_looks_once(tmp_path, known):
    """What is found is no brain, and says nothing of a brain's level."""
    (tmp_path / "mine.npz").write_bytes(b"content")
    model = catalog.analysis("meningioma").model(tmp_path / "mine.npz")
    assert (model.task, model.intensities) == ("meningioma", "robust")


def test_a_file_for_meningioma_is_used_as_the_embedded_network_is(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"content")
    ours = registry.resolve("embedded-meningioma")
    model = catalog.analysis("meningioma").model(path)
    same = ("architecture", "grid", "intensities", "block", "height", "threshold")
    same += ("near_brain", "peak", "flips")
    for name in same:
        assert getattr(model, name) == getattr(ours, name), name
    assert registry.resolve(path).near_brain == registry.resolve(path).peak == 0
    brain = catalog.analysis("brain").model(path)
    assert brain.height == registry.resolve("embedded").height > 0


def test_auto_is_ams_for_meningioma_where_it_is_at_hand(tmp_path):
    assert catalog.analysis("meningioma").model("auto", tmp_path).name == "embedded-meningioma"
    (tmp_path / registry.models()["ams"].file).write_bytes(b"torn")
    assert catalog.analysis("meningioma").model("auto", tmp_path).name == "embedded-meningioma"
    assert catalog.analysis("meningioma").default_models == ("ams", "embedded-meningioma")


def test_resolve_knows_a_registered_model_under_another_name(tmp_path, known):
    path = tmp_path / "mine.h5"
    path.write_bytes(CONTENT)
    model = registry.resolve(path)
    assert (model.name, model.path) == ("embedded", path)  # the first with this hash


def test_resolve_says_what_there_is(tmp_path, known, monkeypatch):
    assert registry.resolve("brainy").path is None
    with pytest.raises(ModelError, match="unknown model 'brany'; expected auto, embedded, brainy"):
        catalog.analysis("brain").model("brany")
    with pytest.raises(ModelError, match=r"absent.h5: there is no such model file"):
        registry.resolve(tmp_path / "absent.h5")
    with pytest.raises(ModelError, match="there is no such model file"):
        registry.resolve("x" * 5000 + ".h5")
    monkeypatch.setattr(registry, "is_file", lambda path: path.suffix == ".h5")
    with pytest.raises(ModelError, match=r"absent.h5: cannot be read"):
        registry.resolve(tmp_path / "absent.h5")


# Downloads


def test_get_downloads_once(cache, known, server):
    known(tables(f"{server.url}/whole/brainy.h5"))
    for _ in range(2):
        assert download.get("brainy") == cache / "brainy.h5"
    assert (cache / "brainy.h5").read_bytes() == CONTENT
    assert held(cache) == ["brainy.h5"]
    assert server.requests == {"/whole/brainy.h5": 1}


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_others_may_read_what_was_fetched_as_the_umask_says(cache, known, server, tmp_path, umask):
    (tmp_path / "file").write_bytes(CONTENT)
    before = os.umask(umask)
    try:
        for source in (f"{server.url}/whole/", tmp_path / "file"):
            path = download.get("brainy", source)
            assert path.stat().st_mode & 0o777 == 0o666 & ~umask
            path.unlink()
    finally:
        os.umask(before)


def test_get_replaces_a_damaged_file(cache, known, server):
    known(tables(f"{server.url}/whole/brainy.h5"))
    cache.mkdir()
    (cache / "brainy.h5").write_bytes(CONTENT[::-1])
    assert download.get("brainy").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["/whole/", "/whole/under-another-name"])
def test_get_from_a_mirror(cache, known, server, place):
    assert download.get("brainy", server.url + place).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["busy", "dropped", "halfway"])
def test_get_tries_again(cache, known, server, kind):
    known(tables(f"{server.url}/{kind}/brainy.h5"))
    assert download.get("brainy").read_bytes() == CONTENT
    assert server.requests == {f"/{kind}/brainy.h5": 2}
    assert held(cache) == ["brainy.h5"]


@pytest.mark.parametrize(
    ("kind", "attempts", "message"),
    [
        ("short", 1, "found 1048575 bytes, expected 1048576. It was not kept"),
        ("tampered", 1, f"found SHA-256 .*, expected {SHA256}. It was not kept"),
        ("cut", 3, "cannot be downloaded: .*Check the connection and the proxy"),
        ("missing", 1, "cannot be downloaded: 404 .*--from"),
    ],
)
def test_get_keeps_nothing_else(cache, known, server, kind, attempts, message):
    known(tables(f"{server.url}/{kind}/brainy.h5"))
    with pytest.raises(ModelError, match=f"http.*/{kind}/brainy.h5: {message}"):
        download.get("brainy")
    assert server.requests == {f"/{kind}/brainy.h5": attempts}
    assert held(cache) == []


def test_get_goes_through_a_proxy(cache, known, server, monkeypatch):
    known(tables("http://models.invalid/whole/brainy.h5"))
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    assert download.get("brainy").read_bytes() == CONTENT
    assert server.requests == {"http://models.invalid/whole/brainy.h5": 1}


def test_get_refuses_an_address_without_sense(cache, known, server):
    with pytest.raises(ModelError, match=r"http://\[/x: cannot be downloaded"):
        download.get("brainy", "http://[/x")
    with pytest.raises(ModelError, match="ftp://host/: expected an http or https address"):
        download.get("brainy", "ftp://host/")
    assert held(cache) == []


def test_get_into_a_cache_that_cannot_be_written(tmp_path, known, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(registry.FOLDER_VARIABLE, str(tmp_path / "file" / "models"))
    (tmp_path / "brainy.h5").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"cannot keep models there .Not a directory.. Set BIDS_"):
        download.get("brainy", tmp_path)


def test_get_onto_a_folder(cache, known, tmp_path):
    (cache / "brainy.h5").mkdir(parents=True)
    (tmp_path / "file").write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"brainy.h5: cannot be written: .*Is a directory"):
        download.get("brainy", tmp_path / "file")
    assert held(cache) == ["brainy.h5"]


def test_several_processes_get_one_model(cache, known, server, tmp_path):
    code = (
        "import sys; from bids_brainmask.models import download, registry\n"
        "registry.models = lambda: registry.parse(sys.argv[1])\n"
        "print(download.get('brainy'))"
    )
    command = [sys.executable, "-c", code, tables(f"{server.url}/slow/brainy.h5")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    answers = [process.communicate(timeout=60)[0].strip() for process in running]
    assert answers == [str(cache / "brainy.h5")] * 6
    assert all(process.returncode == 0 for process in running)
    assert (cache / "brainy.h5").read_bytes() == CONTENT
    assert held(cache) == ["brainy.h5"]


# Files, folders and DataLad clones


def test_get_from_a_file_and_a_folder(cache, known, tmp_path):
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "brainy.h5"
    path.write_bytes(CONTENT)
    path.chmod(0o400)
    for source in (path, str(path), path.parent):
        assert download.get("brainy", source).read_bytes() == CONTENT
        (cache / "brainy.h5").unlink()
    path.rename(path.with_name("renamed"))
    with pytest.raises(ModelError, match=r"there is no .*brainy.h5 or .*original.h5. Check the"):
        download.get("brainy", path.parent)
    path.with_name("renamed").chmod(0o600)
    path.with_name("renamed").write_bytes(b"other")
    with pytest.raises(
        ModelError, match=r"renamed: found 5 bytes, expected 1048576. It was not k"
    ):
        download.get("brainy", path.with_name("renamed"))
    assert held(cache) == []


def test_get_from_a_file_that_cannot_be_read(cache, known, tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "file").write_bytes(CONTENT)
    monkeypatch.setattr(download.shutil, "copyfile", refuse)
    with pytest.raises(ModelError, match=r"file: cannot be copied to .*Permission denied"):
        download.get("brainy", tmp_path / "file")
    assert held(cache) == []


@pytest.fixture(params=["locked", "unlocked"])
def absent(request, tmp_path):
    """A clone in which git-annex knows of a file whose content is elsewhere; there is none."""
    folder = tmp_path / "annexed"
    path = folder / "nets/brainy/weights/original.h5"
    path.parent.mkdir(parents=True)
    if request.param == "locked":
        path.symlink_to("../.git/annex/objects/no/no/key/key")
    else:
        path.write_text("/annex/objects/key\n")
    return folder


def program(folder, name, script):
    """An executable that runs a shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_absent_file_without_datalad(cache, known, absent, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ModelError, match=r"neither datalad nor git-annex is installed. Install"):
        download.get("brainy", absent)
    program(tmp_path / "bin", "git-annex", "exit 1")
    program(tmp_path / "bin", "git", 'echo "ran $@"; exit 1')
    with pytest.raises(
        ModelError, match=r"status 1 and did not fetch the content: ran annex get ./orig"
    ):
        download.get("brainy", absent)
    program(tmp_path / "bin", "datalad", 'echo "no such remote"; exit 3')
    with pytest.raises(ModelError, match="status 3 and did not fetch the content: no such remote"):
        download.get("brainy", absent)
    program(tmp_path / "bin", "datalad", "exit 0")
    with pytest.raises(ModelError, match="status 0 and did not fetch the content"):
        download.get("brainy", absent)
    assert held(cache) == []


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A DataLad clone laid out as the published dataset, without the file's content."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    datalad = shutil.which("datalad", path=search)
    if not (datalad and shutil.which("git-annex", path=search)):
        missing("DataLad or git-annex is not installed")
    (tmp_path / "home").mkdir()
    for key, value in {
        "HOME": str(tmp_path / "home"),
        "PATH": search,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Nobody",
        "GIT_AUTHOR_EMAIL": "nobody@localhost",
        "GIT_COMMITTER_NAME": "Nobody",
        "GIT_COMMITTER_EMAIL": "nobody@localhost",
    }.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def run(*command):
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)

    run(datalad, "create", "published")
    path = tmp_path / "published" / "nets/brainy/weights/original.h5"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    run(datalad, "save", "-d", "published", "-m", "Add a model")
    run(datalad, "clone", "published", "clone")
    yield tmp_path / "clone"
    for folder, _, _ in os.walk(tmp_path):  # git-annex write-protects folders
        Path(folder).chmod(0o755)


@pytest.mark.parametrize("without", [(), ("datalad",)], ids=["datalad", "git-annex"])
def test_get_from_a_clone(cache, known, clone, monkeypatch, without):
    which = shutil.which
    monkeypatch.setattr(
        download.shutil, "which", lambda name, path: name not in without and which(name, path=path)
    )
    path = clone / "nets/brainy/weights/original.h5"
    assert path.is_symlink()
    assert not path.exists()
    with pytest.raises(ModelError, match=r"is not in .*clone. Fetch it once"):
        registry.find("brainy", clone)
    assert download.get("brainy", clone).read_bytes() == CONTENT
    assert held(cache) == ["brainy.h5"]
    assert not (cache / "brainy.h5").is_symlink()
    assert registry.find("brainy", clone) == path


def test_get_from_a_clone_whose_origin_is_gone(cache, known, clone):
    clone.with_name("published").rename(clone.with_name("moved"))
    with pytest.raises(
        ModelError, match=r"datalad get ./original.h5' in .* did not fetch the content: .+"
    ):
        download.get("brainy", clone)
    assert held(cache) == []
