"""Guards the notebooks: they run from top to bottom, and their outputs are fit to be published."""

import os
import re

import keras
import pytest

from tests.helpers import ROOT, long, on_torch

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))

os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")  # without it Jupyter warns of its coming folders
nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed, which runs notebooks")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed, which runs notebooks")


def assert_outputs_are_fit(notebook):
    """No errors, warnings or folders of this machine, and every picture is drawn."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type in ("stream", "execute_result", "display_data"), output
            if output.output_type == "stream":
                assert output.name == "stdout", output.text
                text = output.text
            else:
                text = output.data["text/plain"]
            assert not re.search(r"warning|/home|/tmp|/root|/usr|site-packages|[A-Z]:\\", text, re.IGNORECASE), text
            assert str(ROOT) not in text
        if "plot_" in cell.source:
            assert any("image/png" in output.get("data", {}) for output in cell.outputs), cell.source


def texts_of(notebook):
    return "\n".join(output.text for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output)


@on_torch
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.name == "tour.ipynb" else long) for path in NOTEBOOKS],
    ids=lambda path: path.name,
)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = cell.source.replace("epochs=20, validation", "epochs=2, validation")  # of segmentation.ipynb
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    assert_outputs_are_fit(notebook)
    if path.name == "tour.ipynb":
        (accuracy,) = re.findall(r"njet: test accuracy (.*)", texts_of(notebook))
        assert float(accuracy) > 0.9
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_outputs_that_are_kept(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 500_000
    assert_outputs_are_fit(notebook)
