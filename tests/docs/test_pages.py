"""Guards the documentation: its code runs, the site is built without a warning, and every public name is in it."""

import json
import re
import shutil
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from scipy.special import eval_hermitenorm

import keras_njet
from keras_njet import applications, layers, visualization
from tests.helpers import ROOT, on_torch

sybil = pytest.importorskip("sybil", reason="sybil is not installed, which runs the code of the documentation")
markdown = pytest.importorskip("sybil.parsers.markdown")
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "applications").rglob("README.md")),
]
PAGES = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
ON_EACH_BACKEND = "training_loops.md"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_code_runs_as_it_stands(page, tmp_path, monkeypatch):
    if page.name != ON_EACH_BACKEND and keras.backend.backend() != "torch":
        pytest.skip("says nothing of backends; it is tested on torch")
    monkeypatch.chdir(tmp_path)
    if page.name == ON_EACH_BACKEND:  # which says that there is this warning
        warnings.filterwarnings("ignore", message="(?s).*is being compiled into a function of your own")
    parsers = [markdown.PythonCodeBlockParser(), markdown.SkipParser()]
    examples = list(sybil.Sybil(parsers).parse(page))
    assert examples
    for example in examples:
        example.evaluate()


def test_pages_with_code_were_found():
    assert {"README.md", "index.md", ON_EACH_BACKEND} <= {page.name for page in PAGES}
    assert len(PAGES) >= 10


@on_torch
def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason='mkdocs is not installed: pip install "keras-njet[docs]"')
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING -" not in done.stderr
    reference = (tmp_path / "api" / "layers" / "index.html").read_text()
    assert re.search(r"<li><code>subsample_rate</code>: Number r &gt; 0", reference)
    assert 'class="highlight"' in reference
    networks = (tmp_path / "api" / "applications" / "index.html").read_text()
    assert networks.count("<li><code>subsample_rate</code>: Number r &gt; 0") == 4  # which is added on import
    assert (tmp_path / "applications/any_size/results/fashion_mnist_released/accuracy.png").exists()
    assert "Received" not in (tmp_path / "examples" / "tour" / "index.html").read_text()


def test_every_public_name_is_in_the_reference():
    listed = {
        name
        for page in (ROOT / "docs" / "api").glob("*.md")
        for name in re.findall(r"::: keras_njet\.(\S+)", page.read_text())
    }
    modules = {"applications", "visualization"}
    public = set(keras_njet.__all__) - modules
    public |= {f"layers.{name}" for name in vars(layers) if name[0].isupper() and name not in keras_njet.__all__}
    public |= {f"applications.{name}" for name in vars(applications) if name[0].isupper()}
    public |= {f"visualization.{name}" for name in visualization.__all__}
    public |= {"applications.list_weights"}
    assert listed - {"applications.nin.preprocess_input", "applications.nin.decode_predictions"} == public


@on_torch
@pytest.mark.parametrize(("sigma", "order"), [(0.4, 0), (1.0, 1), (2.3, 2), (6.0, 4)])
def test_the_page_with_sliders_computes_what_a_layer_does(sigma, order, tmp_path):
    if BROWSER is None:
        pytest.skip("there is no Chromium on this machine")
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    page = f"{(ROOT / 'docs' / 'filter.html').as_uri()}?sigma={sigma}&order={order}"
    command = [BROWSER, *flags.split(), f"--user-data-dir={tmp_path}", "--dump-dom", page]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    samples = json.loads(re.search(r'data-samples="([^"]+)"', shown)[1])
    radius = max(1, int(np.ceil(2 * sigma)))
    x = np.arange(-radius, radius + 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    expected = (-1) ** order * eval_hermitenorm(order, x / sigma) * gaussian / gaussian.sum()
    np.testing.assert_allclose(samples, expected, atol=1e-12)
    assert f"The filter has {2 * radius + 1}×{2 * radius + 1} pixels" in shown
    assert shown.count("<rect") > 2 * radius
