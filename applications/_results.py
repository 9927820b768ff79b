"""The results of all recipes: where they are written, what they record of themselves, and that none is overwritten."""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

CONFIGURATION = "configuration.json"
ROWS = "unfinished.json"
BACKUP = "backup"  # folder with the state of a training
ADDED = {"sigma_learning_rate": None}  # options that earlier runs did not have, and their values in those runs


def run(arguments, measure, report=None):
    """Runs a recipe, unless it has been run: a run that has ended is not repeated, and no other run is overwritten.

    Args:
        arguments: As `ArgumentParser.read` returns them; the results are in the folder `arguments.out`.
        measure: Function of the arguments that returns a dictionary of what it finds.
        report: Function of the results and the folder that writes tables and pictures.

    Returns:
        What results.json holds: provenance and what was found.

    Raises:
        ValueError: If the folder has something else in it.
    """
    results = earlier(arguments.out, configuration(arguments))
    if results is None:
        try:
            results = {**provenance(arguments), **measure(arguments)}
        except BaseException:
            _forget_if_nothing_was_measured(arguments.out)
            raise
        if report is not None:
            report(results, arguments.out)
        _write(arguments.out / "results.json", results)  # marks the run as ended; the rest is not needed then
        (arguments.out / ROWS).unlink(missing_ok=True)
        shutil.rmtree(arguments.out / BACKUP, ignore_errors=True)
    return results


def _forget_if_nothing_was_measured(folder):
    """Removes the configuration of a run that has measured nothing: its arguments may have been wrong."""
    if [path.name for path in folder.iterdir()] == [CONFIGURATION]:
        (folder / CONFIGURATION).unlink()


def main(arguments, measure, report=None):
    """Runs a recipe and prints what was found."""
    results = run(arguments, measure, report)
    table = arguments.out / "table.md"
    print(table.read_text() if table.exists() else json.dumps(results.get("metrics", {}), indent=1, ensure_ascii=False))
    print(f"in {arguments.out}: {', '.join(sorted(path.name for path in arguments.out.iterdir()))}")


def earlier(folder, ours):
    """The results of a run with our configuration, None if it has not ended; an error if the folder has others.

    A run of fewer seeds is ours, too: it has not ended.
    """
    begun, ended = folder / CONFIGURATION, folder / "results.json"
    results = _read(ended, dict) if ended.exists() else None
    if begun.exists():
        theirs = _read(begun, dict)
    elif results is not None:
        theirs = results.get("configuration", {})
    else:
        theirs = {} if folder.exists() and any(folder.iterdir()) else ours
    other = {name: theirs.get(name) for name in ours if name not in theirs or theirs[name] != ours[name]}
    more_seeds = "seeds" in other and "seeds" in theirs and theirs["seeds"] < ours["seeds"]
    if more_seeds:
        del other["seeds"]
    if other:
        raise ValueError(
            f"The folder holds another run, with {other}. Give another --out, or remove it. "
            f"Received: out={str(folder)!r}, {', '.join(f'{name}={ours[name]!r}' for name in other)}"
        )
    if results is not None and more_seeds:
        reopen(folder, results)
        results = None
    if results is None:
        folder.mkdir(parents=True, exist_ok=True)
        _write(begun, ours)
    return results


def reopen(folder, results):
    """Makes a run that has ended one that goes on, with the rows that it has."""
    known = {name: results[name] for name in origin()}
    _write(folder / ROWS, [{**row, "origin": row.get("origin", known)} for row in results["runs"]])
    (folder / "results.json").unlink()


def collect(arguments, networks):
    """Trains networks with every seed; those that an interrupted run has trained already are not trained again.

    Args:
        arguments: Of the recipe: `seeds`, and `out`, where each row is written at once, until the run has ended.
        networks: List of pairs: a dictionary that labels the network, and a function of the seed that trains it and
            returns a dictionary of what is known of it.

    Returns:
        A row for each seed and network: its labels, the seed, what the function returned, and its origin: with which
        versions it was trained, on which processor, from which commit.
    """
    rows, here = so_far(arguments), origin()  # of this process, whatever becomes of the files meanwhile
    for seed in range(arguments.seeds):
        for position, (labels, train) in enumerate(networks, start=1):
            label = {**labels, "seed": seed}
            if select(rows, **label):
                continue
            names = ", ".join(str(each) for each in labels.values())
            print(f"\n[seed {seed} of {arguments.seeds}, {position} of {len(networks)}] {names}", flush=True)
            rows.append({**label, **train(seed), "origin": here})
            _write(arguments.out / ROWS, rows)
    return rows


def so_far(arguments):
    """The rows that `collect` has written, in this process or in one that was interrupted."""
    path = arguments.out / ROWS
    return _read(path, list) if path.exists() else []


def select(rows, **wanted):
    """The rows with these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def configuration(arguments):
    """What decides the result of a run, as it is after a round trip through JSON."""
    chosen = {name: value for name, value in vars(arguments).items() if name not in ("command", "out", "data_dir")}
    return json.loads(json.dumps(chosen, default=str))


def recorded(results, **others):
    """The arguments of a run that has ended: `results` as `run` returns them, or its folder; `others` replace them."""
    if not isinstance(results, dict):
        results = _read(pathlib.Path(results) / "results.json", dict)
    return argparse.Namespace(**{**ADDED, **results["configuration"], **others})


def provenance(arguments):
    """How figures came about: what was run, with what, on what."""
    return {"command": arguments.command, "configuration": configuration(arguments), **origin()}


def origin():
    """With what, on what and from which files this process computes."""
    return {"versions": versions(), "processor": processor(), "commit": commit()}


def versions():
    """Versions of what computes."""
    import keras

    import keras_njet

    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "keras_njet": keras_njet.__version__,
        "backend": f"{backend} {sys.modules[backend].__version__}",
    }


def processor():
    """The name of the processor and the number of its cores."""
    listed = _output_of("lscpu") or ""
    name = next((line.split(":")[1].strip() for line in listed.splitlines() if line.startswith("Model name")), None)
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def commit():
    """The commit these files are of, with "-dirty" if they have been changed; None outside of a clone."""
    folder = str(pathlib.Path(__file__).parent)
    return _output_of("git", "-C", folder, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def _output_of(*command):
    """What a command prints; None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"})
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@contextlib.contextmanager
def replacing(path):
    """Gives a path to write to, which replaces this one at the end: the file is the new one as a whole, or the old."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _read(path, *kinds):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON or UTF-8
        raise ValueError(f"Expected a file in JSON that is whole. Received: path={str(path)!r} ({error})") from error
    if not isinstance(content, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"Expected a {names} in JSON. Received: path={str(path)!r}")
    return content


def _write(path, content):
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
