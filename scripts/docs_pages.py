# SPDX-License-Identifier: Apache-2.0
"""Pages of the site that are made when it is built: a hook of MkDocs (mkdocs.yml names it).

The start page is the README. The references are written from what the program reads itself: the
parsers of the command lines, the rows of the outputs and measures, the registry of models. The
reference of the Python API comes from the docstrings (mkdocstrings). The gallery shows what the
program draws of the demonstration's heads when the site is built.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from bids_brainmask import CODE_URL
from bids_brainmask.analyses import catalog
from bids_brainmask.cli import bids_app, brainmask, container, options
from bids_brainmask.demo import phantom_dataset
from bids_brainmask.models import registry
from bids_brainmask.settings import Settings

ROOT = Path(__file__).parents[1]

WHOLE = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changes.md": "CHANGES.md"}
"""Pages that are files of the repository, outside of docs/."""

API = {
    "The package": ("bids_brainmask.api.extractors", ("extract", "Extractor")),
    "Meningiomas": ("bids_brainmask.api.extractors", ("find_meningiomas", "MeningiomaFinder")),
    "Comparison": ("bids_brainmask.api.comparison", ("evaluate", "evaluate_lesions")),
    "Results": ("bids_brainmask.api.findings", ("Brain", "Meningiomas")),
    "Rows": ("bids_brainmask.analyses.lesions", ("Lesion",)),
    "Agreement": ("bids_brainmask.voxels.agreement", ("Agreement",)),
    "LesionAgreement": ("bids_brainmask.voxels.lesion_agreement", ("LesionAgreement",)),
    "Errors": ("bids_brainmask", ("errors",)),
}
"""Public names by heading, and the module that documents them."""


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(value: object) -> str:
    """Write a value so that it stays in its cell."""
    return " ".join(str(value).replace("|", "\\|").split())


def of_parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Write the arguments of a command line, a table for each group."""
    for group in parser._action_groups:
        rows = [
            (f"`{_call(action)}`", _help(parser, action))
            for action in group._group_actions
            if action.help != argparse.SUPPRESS
            and not isinstance(action, argparse._SubParsersAction)
        ]
        if rows:
            yield f"**{group.title}**\n\n" + table(("option", "meaning"), rows)


def _call(action: argparse.Action) -> str:
    """Write how an option is called."""
    value = action.metavar or action.dest.upper()
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    value = " ".join(value) if isinstance(value, tuple) else value
    if not action.option_strings:
        return str(value)
    more = " ..." if action.nargs == "+" else ""
    return ", ".join(action.option_strings) + (f" {value}{more}" if action.nargs != 0 else "")


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Write an option's help, with its defaults."""
    return parser._get_formatter()._expand_help(action) if action.help else ""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give the parsers of the commands of a command line, and of theirs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield one
                yield from commands(one)


def options_page() -> str:
    """Write the reference of all command lines."""
    parts = ["# Options\n\nWritten from the programs' own parsers.\n"]
    top = brainmask.parser()
    for parser in (options.parser(), top, *commands(top), container.parser()):
        tables = list(of_parser(parser))
        parts.append("\n".join([f"## {parser.prog}\n", *tables]))
    return "\n".join(parts)


def files_page() -> str:
    """Write the reference of the files and measures."""
    files = [
        (f"`{row.file('*', 'T1w')}`", ", ".join(row.made_by), row.option or "always", row.readme)
        for row in catalog.OUTPUTS
    ]
    parts = [
        "# Files and measures\n\nWritten from the rows of the program. "
        "[Outputs](../outputs.md) explains them.\n",
        "## Files\n",
        table(("file", "analysis", "`--outputs`", "what it is"), files),
    ]
    for analysis in catalog.ANALYSES:
        measures = [(f"`{row.name}`", row.column["Description"]) for row in analysis.measures()]
        if measures:
            head = f"## Measures of {analysis.name}\n"
            parts += [head, table(("measure", "meaning"), measures)]
    return "\n".join(parts)


def models_page() -> str:
    """Write the reference of the models."""
    rows = [
        (f"`{name}`", m.version, m.task, f"{m.size / 1e6:.1f}", m.license, f"`{m.sha256}`")
        for name, m in registry.models().items()
    ]
    cited = "".join(f"- `{name}`: {m.citation}\n" for name, m in registry.models().items())
    head = ("name", "version", "analysis", "MB", "license", "SHA-256")
    return (
        "# Registered models\n\nWritten from the registry. [Models](../models.md) explains them."
        f"\n\n{table(head, rows)}\n## To cite\n\n{cited}"
    )


def api_page() -> str:
    """Write the reference of the Python API, for mkdocstrings to fill in."""
    parts = ["# Python API\n\nFrom the docstrings. [Python](../python.md) shows the use.\n"]
    for title, (module, names) in API.items():
        parts += [f"## {title}\n", *(f"::: {module}.{name}\n" for name in names)]
    return "\n".join(parts)


PAGES = {
    "reference/options.md": options_page,
    "reference/files.md": files_page,
    "reference/models.md": models_page,
    "reference/api.md": api_page,
}
"""Functions that write the pages, by their place in the site."""


GALLERY = "gallery.md"
"""Page of the gallery; its pictures and reports are in a folder beside it."""

IN_GALLERY = ("*.html", "sub-*/figures/*.webp")
"""Files of the output that the gallery holds."""


def run_demonstration(folder: Path) -> Path:
    """Run both levels on the demonstration's heads; return the output folder.

    Raises
    ------
    RuntimeError
        A level failed.
    """
    dataset = phantom_dataset.write_dataset(folder / "bids")
    output = folder / "output"
    for level in ("participant", "group"):
        settings = Settings(bids_dir=dataset, output_dir=output, analysis_level=level, quiet=True)
        if status := bids_app.run(settings):
            raise RuntimeError(f"gallery: the {level} level ended with exit status {status}")
    return output


def gallery_page(output: Path) -> str:
    """Write the gallery: the reports, and each kind of figure with its pictures."""
    parts = [
        "# Gallery\n\nMade when this site was built, from the heads of `brainmask demo`. They are "
        "phantoms, and no scans of anyone.\n",
        "## Reports\n",
        *(f"- [{path.stem}](gallery/{path.name})" for path in sorted(output.glob("*.html"))),
    ]
    for row in catalog.FIGURES:
        shown = [
            (path, row.alt.format(path.name.split("_desc-")[0]))
            for desc, ending in row.files.values()
            for path in sorted(output.glob(f"sub-*/figures/*_desc-{desc}_*"))
            if row.title and path.name.endswith(ending.format(suffix="T1w"))
        ]
        if shown:
            parts.append(f"\n## {row.title}\n\n{row.caption}\n")
        for path, alt in shown:
            parts.append(f"![{alt}](gallery/{path.relative_to(output).as_posix()})\n")
    return "\n".join(parts)


def moved(text: str, page: str) -> str:
    """Change the links of a page of the repository to those of the site.

    Files that are not in the site are shown by the code's host.
    """

    def link(match: re.Match) -> str:
        target, _, part = match[1].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        base = ROOT if page in WHOLE else ROOT / "docs"
        path = (base / target).resolve()
        pages = {(ROOT / source).resolve(): name for name, source in WHOLE.items()}
        anchor = f"#{part}" if part else ""
        if path in pages:
            return f"]({pages[path]}{anchor})"
        if path.is_relative_to(ROOT / "docs"):
            return f"]({path.relative_to(ROOT / 'docs').as_posix()}{anchor})"
        return f"]({CODE_URL}/blob/main/{path.relative_to(ROOT).as_posix()}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", link, text)


def on_files(files, config):
    """Add the pages that are not in docs/."""
    from mkdocs.structure.files import File

    for page, source in WHOLE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, page)))
    for page, write in PAGES.items():
        files.append(File.generated(config, page, content=write()))
    with tempfile.TemporaryDirectory() as folder:
        output = run_demonstration(Path(folder))
        files.append(File.generated(config, GALLERY, content=gallery_page(output)))
        for path in (path for pattern in IN_GALLERY for path in output.glob(pattern)):
            place = f"gallery/{path.relative_to(output).as_posix()}"
            files.append(File.generated(config, place, content=path.read_bytes()))
    return files


def on_page_markdown(markdown, page, config, files):  # noqa: ARG001
    """Change the links of the pages in docs/ that lead out of it."""
    source = page.file.src_uri
    made = {*WHOLE, *PAGES, GALLERY}
    return markdown if source in made else moved(markdown, source)
