"""Puts pages of the documentation together that are kept elsewhere: cards, benchmarks, examples and notebooks.

MkDocs calls these functions while it builds. Pages have the paths that the files have in a clone, so relative links are
right in both; only those from this folder lose their `../`.
"""

import pathlib
import posixpath
import re

from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = pathlib.Path(__file__).resolve().parents[1]
KEPT_ELSEWHERE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "SECURITY.md",
    "applications/**/README.md",
    "applications/**/table.md",
    "applications/**/*.png",
    "applications/**/*.json",
    "benchmarks/README.md",
    "benchmarks/results/*.png",
)
OWN = re.compile(r"^[\w-]+\.md$|^api/")
"""Pages of this folder."""


def on_files(files, config):
    """Adds the pages that are kept elsewhere."""
    for file in [file for file in files if pathlib.PurePath(file.src_uri).name.startswith("_")]:
        files.remove(file)
    for pattern in KEPT_ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, str(path.relative_to(ROOT)), abs_src_path=str(path)))
    for path in sorted((ROOT / "examples").glob("*.py")):
        text = f"# {path.name}\n\n```python\n{path.read_text()}```\n"
        files.append(File.generated(config, f"examples/{path.stem}.md", content=text))
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        text, resources = MarkdownExporter().from_filename(str(path))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, f"examples/{path.stem}_{name}", content=content))
            text = text.replace(f"({name})", f"({path.stem}_{name})")
        files.append(File.generated(config, f"examples/{path.stem}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Has links lead to the pages of the site, and those to other files nowhere: they are shown as code."""

    def led(match):
        mark, text, target = match.groups()
        if target.startswith(("http", "#", "mailto:")):
            return match[0]
        if OWN.match(page.file.src_uri) and not page.file.generated_by:
            target = target.removeprefix("../")
        target = re.sub(r"(examples/\w+)\.(py|ipynb)$", r"\1.md", target)
        folder = posixpath.dirname(page.file.src_uri)
        path = posixpath.normpath(posixpath.join(folder, target.split("#")[0]))
        if path == "README.md":
            return f"{mark}[{text}]({posixpath.relpath('index.md', folder or '.')})"
        if files.get_file_from_path(path) is None:
            directory = f"{path}/README.md"
            if files.get_file_from_path(directory) is None:
                return text if text.startswith("`") else f"{text} (`{path}`)"
            target = f"{target.rstrip('/')}/README.md"
        return f"{mark}[{text}]({target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", led, markdown)
