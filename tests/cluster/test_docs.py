"""What the pages on clusters say is so, as far as it can be looked up."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from distributed.cli import dask_scheduler, dask_worker

from nemocc_dask.cli import HELP, nemocc

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
OTHERS = {("dask", "worker"): dask_worker.main, ("dask", "scheduler"): dask_scheduler.main}


def commands(text: str) -> Iterator[list[str]]:
    """Words of the commands of ours and Dask's that a page shows, without "..." and comments."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            for found in re.findall(r"(?:^|do )((?:nemocc-dask|dask worker|dask scheduler) [^;]*)", line):
                yield [word for word in shlex.split(found, comments=True) if word != "..."]


def command(program: str, verb: str) -> click.Command | None:
    return nemocc.commands.get(verb) if program == "nemocc-dask" else OTHERS[program, verb]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_are_ones_there_are(page, tmp_path, monkeypatch):
    """Each command that a page shows has a verb that there is, and options that it takes."""
    monkeypatch.chdir(tmp_path)
    for program, verb, *words in commands(page.read_text(encoding="utf-8")):
        for file in (word for word in words if word.endswith(".pem")):  # looked for by Dask's commands
            (tmp_path / file).touch()
        there = command(program, verb)
        assert there is not None, f"{program} has no verb {verb}"
        there.make_context(verb, words, **HELP)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """Each link of a page leads to a file that is there, and to a heading of it."""
    for target in re.findall(r"\]\(([^)#:]*(?:#[^)]*)?)\)", page.read_text(encoding="utf-8")):
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not heading or heading in {each.lower().replace(" ", "-") for each in headings}, target


def test_pages_show_commands():
    """The check above has something to look at."""
    assert sum(1 for page in PAGES for _ in commands(page.read_text(encoding="utf-8"))) > 5
