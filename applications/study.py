"""The paper's studies (section IV): each trains a set of networks and compares them.

    python -m applications.study filter_sizes               # experiment 1.1A, figure 6
    python -m applications.study fixed_sigma --seeds 3      # Table I
    python -m applications.study subsample_rate             # Table II
    python -m applications.study datasets --data-dir DIR    # Table III
    python -m applications.study architectures              # Table IV
    python -m applications.study object_scale               # experiment 1.1B, figure 10
    python -m applications.study receptive_field            # experiment 1.2B, figure 11
    python -m applications.study pyramids --dataset voc --data-dir DIR      # experiment 2B, Table VI
    python -m applications.study fixed_sigma --quick --data-dir DIR --backend torch

Every network is trained by train_classifier or, from object_scale on, by train_segmentation, whose options can be given
beside the study's own. --quick trains narrow networks on few images for minutes: it shows that everything runs, not
what the paper found. Writes into --out: results.json (a row for each network and seed), table.md (mean ± standard
deviation over seeds) and study.png. A study that was interrupted goes on where it stopped.
"""

import functools
import shlex
import statistics

from matplotlib.figure import Figure

from applications import _results, _tables, train_classifier, train_segmentation
from applications._arguments import ArgumentParser
from applications.studies import STUDIES


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("study", __doc__, "{study}", seeds=3, quick="--seeds 1")
    parser.add_argument("study", choices=STUDIES)
    arguments = parser.read(given, pass_on=True)
    study = STUDIES[arguments.study]
    own = {option for _, of_network in study.networks(arguments.quick) for option in of_network} | {"--seed"}
    parser.refuse(arguments.options, {option for option in own if option.startswith("--")})
    if study.needs_files and arguments.data_dir is None:
        parser.error("this study reads original files: expected --data-dir. Received: data_dir=None")
    return arguments


def measure(arguments):
    """Trains all networks."""
    study = STUDIES[arguments.study]
    given = [*(shlex.split(study.quick) if arguments.quick else []), *arguments.options, "--backend", arguments.backend]
    given += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    networks = []
    for number, (labels, of_network) in enumerate(study.networks(arguments.quick), start=1):
        options, folder = [*given, *of_network], arguments.out / f"network-{number}"
        networks.append((labels, functools.partial(train, study, options, folder)))
    return {"labels": list(networks[0][0]), "runs": _results.collect(arguments, networks)}


def train(study, options, folder, seed):
    """Trains one network, by a command line of a training recipe; returns what the study compares."""
    import keras

    keras.utils.clear_session()
    recipe = train_segmentation if study.segments else train_classifier
    given = [*options, "--seed", seed, "--out", folder / f"seed-{seed}"]
    metrics = recipe.train(recipe.parse_arguments(given))["metrics"]
    found = {measure: metrics[name] for measure, name in measures(study).items() if name in metrics}
    return {**found, "seconds": metrics["seconds"], "parameters": metrics["trained_parameters"]}


def measures(study):
    """What is compared: the column of the table and its name in results.json."""
    if not study.segments:
        return {"test accuracy": "test_accuracy"}
    return {"test mIoU": "test_miou", "receptive field": "receptive_field", "mean σ": "mean_sigma"}


def grouped(rows, names):
    """The rows of each network, over its seeds."""
    groups = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in names), []).append(row)
    return groups


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))
    plot(results, folder / "study.png")


def format_table(results):
    rows, names = results["runs"], results["labels"]
    study = STUDIES[results["configuration"]["study"]]
    columns = [name for name in measures(study) if any(name in row for row in rows)]
    lines = []
    for labels, of_network in grouped(rows, names).items():
        spreads = [_tables.mean_std([row[name] for row in of_network if name in row], 4) for name in columns]
        minutes = statistics.mean(row["seconds"] for row in of_network) / 60
        lines.append([*labels, f"{of_network[0]['parameters']:,}", *spreads, f"{minutes:.1f}"])
    table = _tables.markdown([*names, "parameters", *columns, "minutes"], lines)
    return f"{table}\n{_tables.footnote(results)}"


def plot(results, path):
    chosen, rows, names = results["configuration"], results["runs"], results["labels"]
    study = STUDIES[chosen["study"]]
    measure = next(iter(measures(study)))
    groups = grouped(rows, names)
    figure = Figure(figsize=(6.5, 4 if study.over else 1.2 + 0.4 * len(groups)), layout="constrained")
    axes = figure.subplots()
    draw = draw_over if study.over else draw_beside
    draw(axes, groups, names, measure, study.over)
    axes.set_title(f"{chosen['study']}, {chosen['seeds']} seed(s)" + (", quick" if chosen["quick"] else ""))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_beside(axes, groups, names, measure, _):
    """A line for each network."""
    for position, of_network in enumerate(groups.values()):
        values = [row[measure] for row in of_network]
        deviation = _tables.deviation(values)
        axes.errorbar(statistics.mean(values), position, xerr=deviation, fmt="o", color="tab:blue", capsize=4)
    axes.set_yticks(range(len(groups)), [", ".join(labels) for labels in groups])
    axes.invert_yaxis()
    axes.set(xlabel=measure, ylabel=", ".join(names))


def draw_over(axes, groups, names, measure, over):
    """The measure over another column, a curve for each of what the first label names."""
    curves = {}
    for labels, of_network in groups.items():
        values = [row[measure] for row in of_network]
        at = [row[over] for row in of_network]
        place = at[0] if isinstance(at[0], str) else statistics.mean(at)
        curves.setdefault(labels[0], []).append((place, statistics.mean(values), _tables.deviation(values)))
    for name, points in curves.items():
        places, means, deviations = zip(*points, strict=True)
        axes.errorbar(places, means, deviations, fmt="o-", capsize=4, label=name)
    axes.set(xlabel=over, ylabel=measure)
    axes.legend()


if __name__ == "__main__":
    main()
