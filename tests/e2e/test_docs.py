"""Targets, variables, options and links in README and docs/ exist; the example architecture trains."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import astuple
from functools import cache

import pytest

from helpers.pages import PAGES, commands
from sentiment.evaluation import predictions
from sentiment.utils.files import PROJECT

TARGET = re.compile(r"(?m)^([a-z0-9-]+):(?: |$)")


@cache
def makefile():
    return (PROJECT / "Makefile").read_text()


@cache
def help_of(tool):
    process = subprocess.run(
        [sys.executable, PROJECT / "tools" / tool, "--help"], capture_output=True, text=True, check=True
    )
    return process.stdout


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_make_knows_every_target_and_variable(page):
    targets = set(TARGET.findall(makefile()))
    variables = set(
        re.findall(r"\b([A-Z_]{2,})\b", "\n".join(re.findall(r"^#: ([A-Z_ ]+) ##", makefile(), re.MULTILINE)))
    )
    for command in commands(page):
        if command.startswith("make "):
            for word in shlex.split(command)[1:]:
                name, assigned, _ = word.partition("=")
                if assigned:
                    assert name in variables, command
                elif re.fullmatch(r"[a-z][a-z0-9-]*", name):
                    assert name in targets, command


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_tools_know_every_option(page):
    for command in commands(page):
        words = command.split()
        if len(words) > 1 and words[0].endswith("python") and words[1].startswith("tools/"):
            options = {word.split("=")[0] for word in words[2:] if word.startswith("--")}
            unknown = options - set(re.findall(r"--[a-z0-9-]+", help_of(words[1].removeprefix("tools/"))))
            assert not unknown, command


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not target.startswith(("http", "#")):
            assert (page.parent / target.split("#")[0]).exists(), target


@pytest.mark.slow
def test_the_example_architecture_trains_and_is_tested(tool, tmp_path, monkeypatch):
    page = (PROJECT / "docs" / "howto" / "own-architecture.md").read_text()
    assert tool("demo", "--out", tmp_path / "data" / "demo", "--pictures", 64, "--iterations", 1) == 0
    split = ["--data", tmp_path / "data" / "demo", "--subset", "five_agrees", "--out", tmp_path / "splits"]
    assert tool("split_folds", *split) == 0
    (tmp_path / "own.py").write_text(re.search(r"(?ms)^```python\n(.*?)^```", page)[1])
    (tmp_path / "tools").symlink_to(PROJECT / "tools")
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    subprocess.run(["python", "own.py"], cwd=tmp_path, check=True)
    for command in re.search(r"(?ms)^```sh\n(.*?)^```", page)[1].splitlines():
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True)
    rows = [astuple(one) for one in predictions.read(tmp_path / "small-results" / "predictions.csv")]
    right = sum((center > 0.5) == label for _, label, center, _ in rows)
    majority = max(sum(label for _, label, _, _ in rows), sum(1 - label for _, label, _, _ in rows))
    assert len(rows) == 176 and right > majority + 8  # it learns
