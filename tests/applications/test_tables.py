"""Guards tables: their form, and mean ± standard deviation against NumPy."""

import numpy as np
import pytest

from applications import _tables
from tests.helpers import ROOT, results_of


def test_a_table_in_markdown():
    assert _tables.markdown(["a", "b"], [[1, "x"], [2, "y"]]) == "| a | b |\n|---|---|\n| 1 | x |\n| 2 | y |\n"


@pytest.mark.parametrize("digits", [2, 3])
def test_mean_and_standard_deviation(digits):
    values = list(np.random.default_rng(0).normal(size=5))
    mean, deviation = np.mean(values), np.std(values, ddof=1)
    assert _tables.mean_std(values, digits) == f"{mean:.{digits}f} ± {deviation:.{digits}f}"
    assert _tables.deviation(values) == pytest.approx(deviation)


def test_a_single_value_has_no_deviation():
    assert _tables.mean_std([0.5]) == "0.500"
    assert _tables.mean_std([]) == "–"
    assert _tables.deviation([0.5]) == 0.0


def test_the_footnote_says_how_figures_came_about():
    results = results_of([{"seconds": 60.0}, {"seconds": 30.0}], seeds=1, quick=True)
    expected = (
        "One seed.\n\nCommand: `python it`; 1.5 minutes of training on abacus; Python 3, keras 4 on torch 5; "
        "commit abc.\n\nA quick run: these figures say nothing about the networks.\n"
    )
    assert _tables.footnote(results) == expected
    assert "; abacus; Python 3" in _tables.footnote(results_of([{}]))  # where nothing is trained


def test_the_footnote_names_every_place_where_rows_were_trained():
    ours = results_of([])
    here = {name: ours[name] for name in ("versions", "processor", "commit")}
    there = {**here, "processor": "slide rule"}
    rows = [{"origin": there}, {"origin": here}, {"origin": there}]
    assert _tables.footnote(results_of(rows)) == (
        "Command: `python it`; slide rule; Python 3, keras 4 on torch 5; commit abc; "
        "and on abacus; Python 3, keras 4 on torch 5; commit abc.\n"
    )


def test_there_is_no_other_table_writer_nor_deviation():
    for path in (ROOT / "applications").rglob("*.py"):
        if path.name != "_tables.py":
            assert "stdev" not in path.read_text(), path
            assert "|---" not in path.read_text(), path
