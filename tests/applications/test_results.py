"""Guards the results of all recipes: their place, what they record, and that no run overwrites another."""

import argparse
import json
import subprocess

import keras
import pytest

import keras_njet
from applications import _results
from tests.helpers import ROOT


def arguments(folder, **options):
    return argparse.Namespace(command="python it", out=folder, data_dir="here", **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_that_has_ended_is_not_repeated(tmp_path):
    measured = []

    def measure(given):
        measured.append(given)
        return {"runs": [given.epochs]}

    def report(results, folder):
        (folder / "table.md").write_text(f"{results['runs']} by {results['command']}")

    folder = tmp_path / "some/where"
    results = _results.run(arguments(folder, epochs=3, sizes=(3, 5)), measure, report)
    assert results["runs"] == [3]
    assert results["configuration"] == {"epochs": 3, "sizes": [3, 5]}
    assert results["versions"]["keras_njet"] == keras_njet.__version__
    assert results["versions"]["backend"].startswith(f"{keras.backend.backend()} ")
    assert results["processor"].endswith("cores")
    assert json.loads((folder / "results.json").read_text()) == results
    assert (folder / "table.md").read_text() == "[3] by python it"
    before = contents(folder)
    assert _results.run(arguments(folder, epochs=3, sizes=(3, 5)), measure, report) == results
    assert len(measured) == 1
    assert contents(folder) == before


def test_a_run_that_fails_before_anything_is_measured_leaves_its_folder_to_others(tmp_path):
    def fail(given):
        raise ValueError("no such option")

    with pytest.raises(ValueError, match="no such option"):
        _results.run(arguments(tmp_path, epochs=3), fail)
    assert _results.run(arguments(tmp_path, epochs=2), lambda given: {"runs": []})["configuration"] == {"epochs": 2}


def test_a_run_that_fails_later_keeps_its_folder(tmp_path):
    def fail(given):
        (tmp_path / "log.csv").write_text("epoch")
        raise ValueError("later")

    with pytest.raises(ValueError, match="later"):
        _results.run(arguments(tmp_path, epochs=3), fail)
    with pytest.raises(ValueError, match="holds another run"):
        _results.run(arguments(tmp_path, epochs=2), fail)


def test_the_commit_is_that_of_these_files():
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode != 0:
        pytest.skip("not in a clone")
    assert _results.commit().removesuffix("-dirty") == head.stdout.strip()


@pytest.mark.parametrize(
    "files",
    [
        {"configuration.json": {"epochs": 2}},  # begun by others
        {"configuration.json": {"epochs": 2}, "results.json": {"runs": []}},
        {"results.json": {"configuration": {"epochs": 2}}},  # of earlier versions
        {"table.md": "| epochs |"},
    ],
)
def test_a_run_never_overwrites_another(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"holds another run.*Give another --out.* Received: out='.*', epochs=3$"):
        _results.run(arguments(tmp_path, epochs=3), lambda given: pytest.fail("it ran"))
    assert contents(tmp_path) == before


def test_results_of_another_kind_are_not_overwritten(tmp_path):
    (tmp_path / "results.json").write_text('[{"order": 3}]')
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"Expected a dict in JSON\. Received: path="):
        _results.run(arguments(tmp_path, epochs=3), lambda given: pytest.fail("it ran"))
    assert contents(tmp_path) == before


COMMITTED = sorted({path.parent for path in (ROOT / "applications").glob("*/results/**/*.*")})


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: str(folder.relative_to(ROOT / "applications")))
def test_no_committed_result_is_overwritten(folder):
    before = contents(folder)
    with pytest.raises(ValueError, match="Give another --out"):
        _results.run(arguments(folder, never="committed"), lambda given: pytest.fail("it ran"))
    assert contents(folder) == before


def test_an_interrupted_study_goes_on(tmp_path):
    trained = []

    def train(name, seed):
        if (name, seed) == ("b", 1) and len(trained) == 3:
            trained.append("interrupted")
            raise KeyboardInterrupt
        trained.append((name, seed))
        return {"accuracy": len(trained)}

    networks = [({"name": name}, lambda seed, name=name: train(name, seed)) for name in "ab"]
    given = arguments(tmp_path, seeds=2)

    def measure(given):
        return {"runs": _results.collect(given, networks)}

    with pytest.raises(KeyboardInterrupt):
        _results.run(given, measure)
    assert not (tmp_path / "results.json").exists()
    rows = _results.run(given, measure)["runs"]
    assert trained == [("a", 0), ("b", 0), ("a", 1), "interrupted", ("b", 1)]
    assert [(row["name"], row["seed"], row["accuracy"]) for row in rows] == [
        ("a", 0, 1), ("b", 0, 2), ("a", 1, 3), ("b", 1, 5),
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configuration.json", "results.json"]


def test_a_study_that_has_ended_goes_on_with_more_seeds(tmp_path):
    def measure(given):
        return {"runs": _results.collect(given, [({"name": "a"}, lambda seed: trained.append(seed) or {})])}

    trained = []
    first = _results.run(arguments(tmp_path, seeds=2, epochs=3), measure)
    elsewhere = {**first, "processor": "another, 4 cores", "commit": "an earlier one"}
    for row in elsewhere["runs"]:
        del row["origin"]  # as in files of earlier versions
    (tmp_path / "results.json").write_text(json.dumps(elsewhere))
    second = _results.run(arguments(tmp_path, seeds=3, epochs=3), measure)
    assert trained == [0, 1, 2]
    assert second["configuration"] == {"seeds": 3, "epochs": 3}
    origins = [(row["origin"]["processor"], row["origin"]["commit"]) for row in second["runs"]]
    assert origins == [("another, 4 cores", "an earlier one")] * 2 + [(_results.processor(), _results.commit())]
    for fewer_or_another in ({"seeds": 2, "epochs": 3}, {"seeds": 4, "epochs": 2}):
        with pytest.raises(ValueError, match="holds another run"):
            _results.run(arguments(tmp_path, **fewer_or_another), measure)
    assert trained == [0, 1, 2]


def test_options_that_earlier_runs_did_not_have_get_their_values(tmp_path):
    (tmp_path / "results.json").write_text('{"configuration": {"width": 16}}')
    recorded = _results.recorded(tmp_path, data_dir="here")
    assert (recorded.width, recorded.sigma_learning_rate, recorded.data_dir) == (16, None, "here")
