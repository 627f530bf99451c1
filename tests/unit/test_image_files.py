# SPDX-License-Identifier: Apache-2.0
"""What the container image is built from: cheap checks, which need no container."""

import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

from bids_brainmask import __version__
from bids_brainmask.models import registry


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


DOCKERFILE = text("Dockerfile")
ARGUMENTS = dict(re.findall(r'^ARG (\w+)="?([^"\n]*)"?$', DOCKERFILE, re.MULTILINE))


def ignored(path):
    """Tell what .dockerignore says of a file: its last line that fits one of its folders or it."""
    verdict = False
    places = [path, *(str(parent) for parent in Path(path).parents)]
    for line in text(".dockerignore").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        names = [Path(place).name for place in places] if "**/" in line else places
        if line and not line.startswith("#") and any(fnmatch(name, pattern) for name in names):
            verdict = not line.startswith("!")
    return verdict


def copied():
    """Sources of the image, for both variants."""
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            yield from {name.replace("${VARIANT}", variant) for variant in ("cpu", "gpu")}


def test_all_that_is_copied_is_there_and_not_ignored():
    names = set(copied())
    assert {"setup.py", "NOTICE", "bids_brainmask", "requirements/gpu.txt"} <= names
    for name in names:
        assert (ROOT / name).exists(), name
        assert not ignored(name), name


def test_nothing_else_is_sent_to_the_builder():
    kept = {path.name for path in ROOT.iterdir() if not ignored(path.name)}
    assert kept == {name.split("/")[0] for name in copied()}
    assert ignored("bids_brainmask/data/web/versions.txt")  # fetched by hash, where it is built
    assert ignored("bids_brainmask/__pycache__/cli.cpython-311.pyc")


def test_the_package_is_built_from_what_its_metadata_names():
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert {project["readme"], *project["license-files"]} <= set(copied())


def test_the_dockerfile_states_what_is_so():
    assert ARGUMENTS["VERSION"] == __version__
    assert ARGUMENTS["BASE"] == "python:3.11-slim-bookworm"
    assert ARGUMENTS["VARIANT"] == "cpu"
    assert ARGUMENTS["MODELS"] == "auto"
    assert re.findall(r"^(?:USER|ENTRYPOINT|HEALTHCHECK) .*", DOCKERFILE, re.MULTILINE) == [
        "USER 1000:1000",
        'ENTRYPOINT ["bids-brainmask"]',
    ]


def test_every_build_argument_is_documented():
    words = text("docs/containers.md")
    for name in ARGUMENTS:
        assert f"`{name}`" in words, name


def locked(variant):
    """Versions in a lock, by name; each has the hashes of files that pip can verify."""
    versions = {}
    for entry in re.split(r"\n(?=\S)", text(f"requirements/{variant}.txt")):
        if entry.startswith("#"):
            continue
        name, version = re.match(r"([a-z0-9-]+)==(\S+)", entry).groups()
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry), name
        versions[name] = version
    return versions


def wanted(variant):
    """Requirements of the project that an image has to meet."""
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["cluster"], *extras["followup"]]
    lines += extras["gpu"] if variant == "gpu" else []
    for requirement in map(Requirement, lines):
        if variant == "cpu" and requirement.name == "tensorflow":
            requirement.name = "tensorflow-cpu"
        yield requirement


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_the_lock_meets_the_requirements(variant):
    versions = locked(variant)
    for requirement in wanted(variant):
        assert requirement.specifier.contains(versions[requirement.name]), requirement
    excluded = [line.split()[0] for line in text("requirements/excluded.txt").splitlines()[1:]]
    assert not versions.keys() & set(excluded)
    assert "setuptools" in versions  # which builds the wheel


def test_the_variants_differ_in_tensorflow_alone():
    cpu, gpu = locked("cpu"), locked("gpu")
    assert cpu.pop("tensorflow-cpu") == gpu.pop("tensorflow")
    cuda = {name for name in gpu if name.startswith("nvidia-")}
    assert "nvidia-cudnn-cu12" in cuda
    assert cpu == {name: version for name, version in gpu.items() if name not in cuda}


def bake(tmp_path, models):
    """Run what fetches models into the image, where nobody can be reached."""
    nobody = "http://127.0.0.1:9"
    environment = os.environ | {
        registry.FOLDER_VARIABLE: str(tmp_path / "models"),
        **dict.fromkeys(("https_proxy", "HTTPS_PROXY"), nobody),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), ""),
    }
    command = [sys.executable, "scripts/bake_models.py", tmp_path / "models.txt", models]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize("models", ["auto", "", "embedded"])
def test_without_a_network_the_image_has_the_embedded_models(tmp_path, models):
    ran = bake(tmp_path, models)
    assert ran.returncode == 0, ran.stderr
    known = registry.models()
    expected = "".join(f"{x.name} {x.version}\n" for x in known.values() if not x.url)
    assert (tmp_path / "models.txt").read_text() == expected
    assert ("brainy will not be in the image: https://" in ran.stderr) == (models == "auto")


@pytest.mark.slow
@pytest.mark.parametrize("models", ["brainy ams", "embedded nosuch", "auto brainy"])
def test_a_model_that_is_asked_for_and_cannot_be_had_ends_the_build(tmp_path, models):
    ran = bake(tmp_path, models)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("MODELS: ")
    assert not (tmp_path / "models.txt").exists()


def test_the_recipe_for_apptainer_runs_what_the_image_runs():
    recipe = text("Apptainer.def")
    header, *sections = re.split(r"^%", recipe, flags=re.MULTILINE)
    sections = dict(section.split("\n", 1) for section in sections)
    assert header.startswith("Bootstrap: docker-archive\nFrom: bids-brainmask.tar\n")
    assert sections["runscript"].strip() == 'exec bids-brainmask "$@"'
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE"):
        assert re.search(rf"unset .*\b{name}\b", sections["environment"])


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell(path):
    subprocess.run(["sh", "-n", path], check=True)


def test_every_job_of_the_workflow_is_defined():
    config = yaml.safe_load(text(".circleci/config.yml"))
    used = {next(iter(job)) for job in config["workflows"]["main"]["jobs"]}
    assert used == set(config["jobs"])
    assert used == {
        *("check", "audit", "docs", "test", "oldest", "image", "arm64", "macos", "windows"),
        *("publish_wheel", "build_image", "publish_image", "publish_docs"),
    }


def test_every_version_of_python_is_tested_and_named():
    """By the workflow, the script that tries the wheel, the metadata and the support policy."""
    project = tomllib.loads(text("pyproject.toml"))["project"]
    names = [line.rpartition(" ")[2] for line in project["classifiers"] if " 3." in line]
    assert project["requires-python"] == f">={names[0]}"
    jobs = yaml.safe_load(text(".circleci/config.yml"))["workflows"]["main"]["jobs"]
    (matrix,) = [job["test"]["matrix"] for job in jobs if isinstance(job, dict) and "test" in job]
    assert matrix["parameters"]["python"] == names
    assert f"${{PYTHONS-{' '.join(names)}}}" in text("scripts/pythons.sh")
    assert f"Python {', '.join(names[:-1])} and {names[-1]}." in text("docs/support.md")


def test_images_are_listed_signed_and_for_both_processors():
    jobs = yaml.safe_load(text(".circleci/config.yml"))
    built = yaml.dump(jobs["jobs"]["build_image"], width=999)
    assert "--sbom=true" in built
    assert "--provenance=mode=max" in built
    signed = yaml.dump(jobs["jobs"]["publish_image"], width=999)
    assert "cosign sign --yes --recursive" in signed
    ends = {
        job["build_image"]["suffix"]
        for job in jobs["workflows"]["main"]["jobs"]
        if "build_image" in job
    }
    assert ends == {"-amd64", "-arm64", "-gpu"}
    assert all(f"$image{end}" in signed for end in ends)


def test_the_site_of_a_release_is_put_beside_those_before():
    jobs = yaml.safe_load(text(".circleci/config.yml"))["jobs"]
    (deploy,) = re.findall(r"mike deploy .*", yaml.dump(jobs["publish_docs"], width=999))
    assert deploy.startswith("mike deploy --push --update-aliases ")
    assert yaml.safe_load(text("mkdocs.yml").split("\nplugins:")[0])["extra"]["version"] == {
        "provider": "mike",
        "alias": True,
    }


def test_the_lock_for_arm64_differs_in_tensorflow_alone():
    """The packages of both images are the same, but for the build of TensorFlow."""
    found = [
        set(re.findall(r"^([\w.-]+==[\w.]+)", text(f"requirements/{name}.txt"), re.MULTILINE))
        for name in ("cpu", "cpu-arm64")
    ]
    names = [{line.partition("==")[0] for line in one} for one in (found[0] - found[1],)]
    assert names == [{"tensorflow-cpu"}]
    (other,) = found[1] - found[0]
    assert other.startswith("tensorflow==")


def rendered(content):
    """A conda recipe as rattler-build reads it: unknown keys and wrong values are errors."""
    import rattler_build

    recipe = rattler_build.Stage0Recipe.from_yaml(content)
    (variant,) = recipe.render(rattler_build.VariantConfig())
    return variant.recipe.to_dict()


def test_the_recipe_of_conda_has_the_requirements():
    recipe = rendered(text("conda/recipe.yaml"))
    assert recipe["package"] == {"name": "bids-brainmask", "version": __version__}
    assert recipe["source"][0]["url"].endswith(f"/bids_brainmask-{__version__}.tar.gz")
    project = tomllib.loads(text("pyproject.toml"))["project"]
    names = {"python-isal": "isal", "matplotlib-base": "matplotlib"}
    found = {line.partition(" ")[::2] for line in recipe["requirements"]["run"]}
    expected = {
        (one.name, str(one.specifier))
        for one in map(Requirement, project["dependencies"])
        if not one.marker
    }
    assert {(names.get(name, name), version) for name, version in found} == expected | {
        ("python", project["requires-python"])
    }
    scripts = {f"{name} = {target}" for name, target in project["scripts"].items()}
    assert set(recipe["build"]["python"]["entry_points"]) == scripts


def test_the_recipe_of_conda_has_what_conda_forge_asks_for():
    """Rules of the linter of conda-smithy, which only conda's own channels have."""
    recipe = yaml.safe_load(text("conda/recipe.yaml"))
    sections = ["context", "package", "source", "build", "requirements", "tests", "about", "extra"]
    assert list(recipe) == ["schema_version", *sections]
    assert list(recipe["requirements"]) == ["host", "run"]  # noarch: nothing is compiled
    assert recipe["build"]["noarch"] == "python"
    assert recipe["build"]["number"] == 0
    assert "skip" not in recipe["build"]
    of_tests = [each.get("requirements", {}).get("run", []) for each in recipe["tests"]]
    for line in chain(*recipe["requirements"].values(), *of_tests):
        name, _, version = line.replace("${{ python_min }}", "3.11").partition(" ")
        assert re.fullmatch(r"[a-z0-9-]+", name), line
        assert re.fullmatch(r"|(>=)?[\w.]+(\.\*)?", version), line
    assert "python ${{ python_min }}.*" in recipe["requirements"]["host"]
    assert "python >=${{ python_min }}" in recipe["requirements"]["run"]
    assert recipe["tests"][0]["python"]["python_version"] == "${{ python_min }}.*"
    assert recipe["source"]["url"].startswith("https://pypi.org/packages/source/b/bids-brainmask/")
    assert re.fullmatch(r"[0-9a-f]{64}", recipe["source"]["sha256"])
    about = recipe["about"]
    assert {"license", "license_file", "summary", "homepage"} <= set(about)
    assert about["license"] == tomllib.loads(text("pyproject.toml"))["project"]["license"]
    assert all((ROOT / name).is_file() for name in about["license_file"])
    assert recipe["extra"]["recipe-maintainers"]


@pytest.mark.parametrize("line", ["  run_time: []\n", "  noarch: ruby\n"])
def test_a_wrong_recipe_of_conda_would_be_found_out(line):
    import rattler_build

    with pytest.raises(rattler_build.RecipeParseError):
        rendered(text("conda/recipe.yaml").replace("  number: 0\n", f"  number: 0\n{line}"))
