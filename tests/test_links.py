"""Guards the documentation: what it links to, and the files and modules that it names, are there."""

import importlib.util
import json
import re

import pytest

from tests.helpers import ROOT

SKIPPED = (".venv", "build", "dist", ".git")
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if not set(SKIPPED) & set(path.relative_to(ROOT).parts)]
WRITTEN = [path for path in PAGES if "results" not in path.relative_to(ROOT).parts]  # the others are recorded
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
CODE = [ROOT / "dev.py", *(path for name in ("keras_njet", "applications", "examples", "benchmarks")
                           for path in sorted((ROOT / name).rglob("*.py")))]  # fmt: skip
PATH = re.compile(r"(?<![\w/.])(?:keras_njet|applications|examples|benchmarks|tests|docs)/[\w/.*-]*")


def named(path):
    return str(path.relative_to(ROOT))


def text_of(path):
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n".join("".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"])


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=named)
def test_relative_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)):
        if not target.startswith(("https://", "http://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [*WRITTEN, *CODE, *NOTEBOOKS], ids=named)
def test_paths_that_are_named_are_there(page):
    if page.name == "CHANGELOG.md":
        return  # which tells of files that are gone
    for path in PATH.findall(text_of(page)):
        path = path.rstrip(".")
        if page.parent == ROOT / "applications" and path.startswith("examples/"):
            continue  # where older results name a script by its former place
        assert any(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize("page", [*WRITTEN, *CODE], ids=named)
def test_commands_name_modules_that_are_there(page):
    for module in re.findall(r"python3? -m ((?:applications|benchmarks)(?:\.\w+)*)", text_of(page)):
        assert importlib.util.find_spec(module), module
