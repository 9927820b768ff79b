"""What all training runs share: their command and configuration, versions, logs and tables."""

import argparse
import csv
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time

RENAMED = {"filters": "width", "kernel_sizes": "filter_sizes"}  # options, and what they were called in earlier runs


def command(script, given):
    """The command line, without the places where files lie on this machine."""
    shown = list(given)
    if "--out" in shown:
        del shown[shown.index("--out") : shown.index("--out") + 2]
    if "--data-dir" in shown:
        shown[shown.index("--data-dir") + 1] = "DIR"
    return shlex.join(["python", script, *shown])


def configuration(arguments):
    """What decides the result of a run."""
    return {name: value for name, value in vars(arguments).items() if name not in ("command", "out", "data_dir")}


def recorded(folder, **others):
    """The arguments of a run that has ended, by its results.json; `others` are set anew."""
    configuration = json.loads((pathlib.Path(folder) / "results.json").read_text())["configuration"]
    earlier = {name: configuration.get(old) for name, old in RENAMED.items()}
    return argparse.Namespace(**{**earlier, **configuration, **others})


def is_finished(folder, arguments):
    """Whether the folder has the results of this run; an error if what it has belongs to another one."""
    ours, path = configuration(arguments), pathlib.Path(folder) / "configuration.json"
    if path.exists():
        theirs = json.loads(path.read_text())
        other = {name: theirs.get(name) for name in ours if theirs.get(name) != ours[name]}
        if other:
            raise ValueError(
                f"The folder holds another run, with {other}. Give another --out, or remove it. "
                f"Received: out={str(folder)!r}, {', '.join(f'{name}={ours[name]!r}' for name in other)}"
            )
    path.write_text(json.dumps(ours, indent=1) + "\n")
    return (pathlib.Path(folder) / "results.json").exists()


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


def provenance(arguments):
    """How figures came about: what was run, with what, on what."""
    return {
        "command": arguments.command,
        "configuration": configuration(arguments),
        "versions": versions(),
        "processor": processor(),
        "commit": commit(),
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


def progress_bar(epochs):
    """A bar for a whole training, one step an epoch; without a terminal, a line at its end."""
    import keras

    shown = ("loss", "accuracy")

    class ProgressBar(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            verbose = 1 if sys.stdout.isatty() else 2
            self.bar = keras.utils.Progbar(epochs, verbose=verbose, stateful_metrics=shown, unit_name="epoch")

        def on_epoch_end(self, epoch, logs=None):
            self.bar.update(epoch + 1, [(name, logs[name]) for name in shown if name in logs])

    return ProgressBar()


def stopwatch():
    """Adds the seconds of each epoch to its logs."""
    import keras

    class Stopwatch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.start = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            logs["seconds"] = time.perf_counter() - self.start

    return Stopwatch()


def read_log(path):
    """The rows of a log of numbers."""
    with open(path, newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write_csv(rows, path):
    """Writes dictionaries as the rows of a CSV file; what a row does not have stays empty."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        writer.writerows(rows)
