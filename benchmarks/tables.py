"""Rewrites the tables of the README files from what was measured last.

    python -m benchmarks.tables                       # reads benchmarks/results/

In README.md and benchmarks/README.md each table stands below a comment `<!-- table: name -->`; the rows below it are
replaced, nothing else is.
"""

import pathlib
import re
import statistics

from benchmarks import enlarged as at_other_sizes
from benchmarks import roofline as predicted
from benchmarks import timing
from benchmarks.layers import ORDER, SIGMAS, suffix
from benchmarks.layers import WORKLOADS as GRID
from benchmarks.networks import MODELS, ratio, ratios
from benchmarks.timing import formatted

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "torch"}
WORKLOADS = {
    "32x32x16-16": "32×32×16→16, batch 128",
    "16x16x32-32": "16×16×32→32, batch 128",
    "8x8x64-64": "8×8×64→64, batch 128",
    "56x56x64-64": "56×56×64→64, batch 8",
    "28x28x128-128": "28×28×128→128, batch 8",
    "14x14x256-256": "14×14×256→256, batch 8",
    "7x7x512-512": "7×7×512→512, batch 8",
    "280x280x16-16": "280×280×16→16, batch 2",
    "128x128x64-64": "128×128×64→64, batch 2",
    "128x128x16-16": "128×128×16→16, batch 4",
    "224x224x3-64": "224×224×3→64, batch 2",
    "224x224x3-64 stride 2": "224×224×3→64, stride 2, batch 2",
    "32x32x96-192": "32×32×96→192, batch 32",
    "41x41x512-21": "41×41×512→21, batch 1",
    "56x56x144 depthwise": "depthwise, 56×56×144, batch 8",
    "14x14x672 depthwise": "depthwise, 14×14×672, batch 8",
    "41x41x2048-21 pyramid": "pyramid, 41×41×2048→21, batch 1",
    "4096x64-64": "4096×64→64, batch 8",
    "24x24x24x32-32": "24×24×24×32→32, batch 2",
}
WORTH_A_LOOK = 0.01
"""Seconds of Keras' layer below which a ratio says little."""
NETWORKS = {
    "nin": "NIN, order 3",
    "nin order 2": "NIN, order 2",
    "resnet32": "ResNet-32, order 3",
    "resnet110": "ResNet-110, order 2",
    "efficientnetb0": "EfficientNet-B0, order 2",
    "unet": "U-Net, order 2",
}


def main():
    for path in FILES:
        path.write_text(updated(path.read_text()))


def updated(text: str) -> str:
    """A text with all its tables rewritten."""

    def made(match):
        name, *arguments = match[2].split()
        return match[1] + "\n".join(TABLES[name](*arguments)) + "\n"

    return re.sub(r"(<!-- table: (.+) -->\n\n?)(?:\|.*\n)*", made, text)


def read(name):
    return timing.load_all(timing.RESULTS, name)


def titled(measured):
    """For each workload that was measured and each backend: both of them, and what the table calls them."""
    for workload, title in WORKLOADS.items():
        if workload in measured:
            for backend, name in BACKENDS.items():
                yield workload, backend, title, name
                title = ""


def header(*columns):
    return [line(*columns), "|" + "---|" * len(columns)]


def line(*cells):
    return "| " + " | ".join(cells) + " |"


def layers(key, order=ORDER, measured="layers"):
    from keras_njet._convolution.sizes import kernel_size

    cells = {
        (row["workload"], backend, row["sigma"]): formatted(row, key)
        for backend, rows in read(measured + suffix(int(order))).items()
        for row in rows
    }
    sigmas = sorted({sigma for _, _, sigma in cells} or SIGMAS)
    yield from header(
        "workload", "backend", *(f"σ = {sigma:g}, {kernel_size(sigma, extent=2.0)} pixels" for sigma in sigmas)
    )
    for workload, backend, title, name in titled({workload for workload, _, _ in cells}):
        yield line(title, name, *(cells.get((workload, backend, sigma), "–") for sigma in sigmas))


def grid(order=ORDER, measured="layers"):
    """The whole table in a line: cells, their geometric mean, how many are above 1, and the worst one.

    Counted are cells in which Keras' layer was measured, but not the pyramid, whose dilation rates do not grow with σ.
    The last two columns count only cells in which Keras' layer takes at least 10 ms.
    """
    yield from header("backend", "cells", "geometric mean", "above 1", "worst cell")
    for backend, rows in read(measured + suffix(int(order))).items():
        rows = [row for row in rows if "Keras" in row["seconds"] and GRID[row["workload"]][0] != "pyramid"]
        slow = [row for row in rows if row["seconds"]["Keras"] >= WORTH_A_LOOK]
        worst = max(slow or rows, key=lambda row: row["ratio"])
        yield line(
            BACKENDS[backend],
            str(len(rows)),
            f"{statistics.geometric_mean(row['ratio'] for row in rows):.2f}",
            str(sum(row["ratio"] > 1.0 for row in slow)),
            f"{worst['ratio']:.2f}: {WORKLOADS[worst['workload']]}, σ = {worst['sigma']:g}",
        )


def networks(measured="networks"):
    yield from header("N-Jet network", "backend", "plain convolutions", "arithmetic", "baseline", "arithmetic")
    yield from of_networks(measured, ratios)


def networks_first_step(measured="networks_first_step"):
    def cells(row):
        seconds = [f"{row['seconds'][model]:.1f}" for model in MODELS]
        megabytes = f"{row['megabytes']['N-Jet']:.0f}"
        return [*seconds, ratio(row, "seconds", "baseline"), megabytes, ratio(row, "megabytes", "baseline")]

    titles = ("N-Jet, s", "plain, s", "baseline, s", "N-Jet / baseline", "memory, MB", "N-Jet / baseline")
    yield from header("N-Jet network", "backend", *titles)
    yield from of_networks(measured, cells)


def of_networks(measured, cells):
    """A line for each network that was measured and each backend."""
    rows = {(row["network"], backend): cells(row) for backend, found in read(measured).items() for row in found}
    for network, title in NETWORKS.items():
        for backend, name in BACKENDS.items():
            if (network, backend) in rows:
                yield line(title, name, *rows[network, backend])
                title = ""


def first_step():
    """Compiling and memory of a layer, also as ratios to Keras' layer; and the ratio of later steps."""
    yield from header("", "evaluated by", "compiling, s", "ratio", "memory, MB", "ratio", "step, ratio")
    for backend, row in read("first_step").items():
        title, theirs = BACKENDS[backend], row["Keras"]
        for layer, way in (("N-Jet", '"auto"'), ("composed", "composed filters"), ("Keras", "Conv2D")):
            ours, cells = row[layer], []
            for key, digits in (("compiling_seconds", 2), ("megabytes", 0)):
                cells += [f"{ours[key]:.{digits}f}", f"{ours[key] / theirs[key]:.1f}"]
            yield line(title, way, *cells, f"{ours['step_seconds'] / theirs['step_seconds']:.2f}")
            title = ""


def long_run():
    """The memory of a training in which sizes change."""
    columns = "changes of size", "MB at the first third", "MB at the end", "MB a change", "MB in use a change"
    yield from header("", "layer", *columns)
    for backend, row in read("long_run").items():
        title = BACKENDS[backend]
        for layer, name in (("N-Jet", "N-Jet"), ("Keras", "Conv2D, made again as often")):
            found = row[layer]["megabytes"]
            sizes = f"{found[len(found) // 3]:.0f}", f"{found[-1]:.0f}"
            growths = f"{row[layer]['megabytes_a_change']:.1f}", f"{row[layer]['in_use_a_change']:.3f}"
            yield line(title, name, f"{row['epochs'] // 3}", *sizes, *growths)
            title = ""


def sharing():
    yield from header("backend", "σ", "layer", "3 groups", "filter", "input")
    for backend, rows in read("sharing").items():
        for row in rows:
            seconds = row["seconds"]
            ratios = [seconds[key] / seconds["Keras"] for key in ("layer", "3", "filter", "input")]
            yield line(BACKENDS[backend], f"{row['sigma']:g}", *(f"{each:.2f}" for each in ratios))


def bounds():
    keys = ("products", "memory", "measured")
    cells = {}
    for backend, result in read("bounds").items():
        for row in result["rows"]:
            ratio = row["measured"] / (row["products"] + row["memory"])
            cells[row["workload"], backend] = [*(f"{1000 * row[key]:.0f}" for key in keys), f"{ratio:.1f}"]
    yield from header("workload", "backend", *keys, "measured / both")
    for workload, backend, title, name in titled({workload for workload, _ in cells}):
        yield line(title, name, *cells.get((workload, backend), ["–"] * 4))


def enlarged():
    """Predictions for enlarged images: a line for each network, factor and method."""
    found = {
        (backend, row["network"], name): f"{ratio:.1f}"
        for backend, rows in read("enlarged").items()
        for row in rows
        for name, ratio in at_other_sizes.ratios(row).items()
    }
    yield from header("network", "images", *BACKENDS.values())
    for network, name in dict.fromkeys((network, name) for _, network, name in found if name != "own size"):
        yield line(network, name, *(found.get((backend, network, name), "–") for backend in BACKENDS))


def rates():
    yield from header("", "multiply-accumulates, billions a second", "GB a second")
    for backend, row in read("bounds").items():
        yield line(BACKENDS[backend], f"{row['products'] / 1e9:.0f}", f"{row['bytes'] / 1e9:.0f}")


def roofline(order=ORDER):
    """What arithmetic predicts for an H100."""
    device = predicted.DEVICES["float32 (TF32)"]
    yield from header("workload", *(f"σ = {sigma:g}" for sigma in SIGMAS))
    for workload, (kind, *sizes) in GRID.items():
        if kind in ("convolution", "depthwise"):
            cells = (predicted.predict(kind, *sizes, sigma, int(order), device) for sigma in SIGMAS)
            yield line(WORKLOADS[workload], *(f"{ratio:.2f} {way}" for ratio, way in cells))


OF_LAYERS = (layers, grid, first_step, long_run, sharing, bounds, rates, roofline)
TABLES = {each.__name__: each for each in (*OF_LAYERS, networks, networks_first_step, enlarged)}

if __name__ == "__main__":
    main()
