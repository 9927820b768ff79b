"""Draws what `layers.py` and `growth.py` have measured; needs matplotlib (`pip install matplotlib`)."""

import math
import pathlib

from benchmarks import timing
from benchmarks.timing import formatted

COLOURS = {"tensorflow": "tab:orange", "jax": "tab:blue", "torch": "tab:red"}
LABELS = {"sigma": "σ, pixels", "size": "feature map, pixels a side", "channels": "channels", "order": "order"}


def time_over_sigma(folder: pathlib.Path, suffix: str = ""):
    """Time of a training step over σ, a panel for each workload: the N-Jet stays flat, Keras' layer grows."""
    results = timing.load_all(folder, f"layers{suffix}")
    workloads = list(dict.fromkeys(row["workload"] for rows in results.values() for row in rows))
    figure, panels = make_panels(len(workloads))
    for panel, workload in zip(panels, workloads, strict=False):
        for backend, rows in results.items():
            rows = [row for row in rows if row["workload"] == workload]
            for name, style in (("N-Jet", "-"), ("Keras", "--")):
                measured = [row for row in rows if name in row["seconds"]]
                points = [(row["sigma"], row["seconds"][name]) for row in measured]
                draw(panel, points, backend, name, style)
        panel.set(title=workload, xscale="log", yscale="log", xlabel=LABELS["sigma"], ylabel="seconds a step")
        name_ticks(panel, sorted({row["sigma"] for rows in results.values() for row in rows}))
    panels[0].legend(fontsize=7)
    figure.savefig(folder / f"time_over_sigma{suffix}.png", dpi=110)


def heat_map(folder: pathlib.Path, suffix: str = ""):
    """The grid: time of a training step over that of Keras' layer, a panel for each backend."""
    results = timing.load_all(folder, f"layers{suffix}")
    workloads = list(dict.fromkeys(row["workload"] for rows in results.values() for row in rows))
    sigmas = sorted({row["sigma"] for rows in results.values() for row in rows})
    figure, panels = make_panels(len(results), height=1.2 + 0.3 * len(workloads))
    for panel, (backend, rows) in zip(panels, results.items(), strict=False):
        ratios = [[float("nan")] * len(sigmas) for _ in workloads]
        for row in rows:
            x, y = sigmas.index(row["sigma"]), workloads.index(row["workload"])
            if "Keras" in row["seconds"]:
                ratios[y][x] = math.log2(row["ratio"])
            colour = "white" if abs(ratios[y][x]) > 1.3 else "black"
            panel.text(x, y, formatted(row), ha="center", va="center", fontsize=7, color=colour)
        panel.imshow(ratios, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
        panel.set(title=backend, xlabel=LABELS["sigma"])
        panel.grid(visible=False)
        panel.set_yticks(range(len(workloads)), workloads if panel is panels[0] else [], fontsize=7)
        panel.set_xticks(range(len(sigmas)), [f"{sigma:g}" for sigma in sigmas])
    figure.savefig(folder / f"grid{suffix}.png", dpi=110)


def growth(folder: pathlib.Path):
    """Time of a training step over σ, feature map, channels and order."""
    results = timing.load_all(folder, "growth")
    varied = list(dict.fromkeys(row["varied"] for rows in results.values() for row in rows))
    figure, panels = make_panels(len(varied), columns=2)
    for panel, name in zip(panels, varied, strict=False):
        for backend, rows in results.items():
            for layer, style in (("N-Jet", "-"), ("Conv2D", "--")):
                measured = [row for row in rows if row["varied"] == name and row[layer] is not None]
                draw(panel, [(row["value"], row[layer]) for row in measured], backend, layer, style)
        panel.set(yscale="log", xlabel=LABELS[name], ylabel="seconds a step")
        if name != "order":
            panel.set(xscale="log")
        name_ticks(panel, sorted({row["value"] for rows in results.values() for row in rows if row["varied"] == name}))
    panels[0].legend(fontsize=7)
    figure.savefig(folder / "growth.png", dpi=110)


def draw(panel, points, backend, name, style):
    values, seconds = zip(*points, strict=True) if points else ((), ())
    panel.plot(values, seconds, style, marker=".", color=COLOURS[backend], label=f"{name}, {backend}")


def make_panels(count, columns=3, height=3.2):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[count:]:
        panel.set_visible(False)
    for panel in panels[:count]:
        panel.grid(alpha=0.3)
    return figure, panels


def name_ticks(panel, values):
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.minorticks_off()
