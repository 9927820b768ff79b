"""Approximates image patches and trained filters by N-Jets (like figure 3 of the paper).

    python -m applications.fit_filters

Patches: 11×11 pixels of scikit-learn's sample photograph of a flower, minus their mean. Filters: the first layer of the
NIN with 5×5 filters that was trained on Fashion-MNIST and ships with the package. Each is fitted with one scale for all
and with a scale for each, by orders 1, 2, 3, 4 and 6. Writes into --out: table.md, results.json and, of the fits with a
scale for each, patches.png and first_layer_of_NIN.png.
"""

import numpy as np
from matplotlib.figure import Figure

from applications import _results, _tables
from applications._arguments import ArgumentParser

SHOWN = 8


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("fit_filters", __doc__, seed=True)
    parser.add_argument("--orders", type=int, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--patches", type=int, default=200)
    return parser.read(given)


def measure(arguments):
    """Fits all filters, and draws some of them."""
    rows = []
    kinds = {"patches": patches(arguments.patches, arguments.seed), "first layer of NIN": first_layer()}
    for name, kernels in kinds.items():
        fits = {order: fit(kernels, order) for order in arguments.orders}
        rows += [{"filters": name, "order": order, **summary(*pair)} for order, pair in fits.items()]
        path = arguments.out / f"{name.replace(' ', '_')}.png"
        plot(kernels, {order: pair[1] for order, pair in fits.items()}, path)
    return {"runs": rows}


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    lines = []
    for row in results["runs"]:
        one = [f"{row['sigma']:.2f}", f"{row['error']:.3f}"]
        each = [_tables.mean_std(row["sigmas"], 2), f"{row['error_each']:.3f}"]
        lines.append([row["filters"], row["order"], *one, *each])
    return _tables.markdown(["filters", "order", "one σ", "error", "σ for each", "error"], lines)


def patches(count, seed, size=11):
    """Patches of a photograph as filters, shape (size, size, 1, count)."""
    from sklearn.datasets import load_sample_image

    image = load_sample_image("flower.jpg").mean(axis=-1) / 255.0
    rng = np.random.default_rng(seed)
    corners = zip(*(rng.integers(0, extent - size, count) for extent in image.shape), strict=True)
    cut = np.stack([image[y : y + size, x : x + size] for y, x in corners], axis=-1)
    return (cut - cut.mean(axis=(0, 1)))[:, :, None]


def first_layer():
    """The filters of the first layer of the released NIN, shape (5, 5, 1, filters)."""
    import keras

    from keras_njet import applications

    model = applications.NIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    return keras.ops.convert_to_numpy(layer.kernel)


def fit(kernels, order):
    """Fits one scale for all, and a scale for each."""
    from keras_njet import fit_filters

    return fit_filters(kernels, order), fit_filters(kernels, order, sigma_sharing="filter")


def summary(one, each):
    return {
        "sigma": one.sigma,
        "error": one.error,
        "sigmas": [float(sigma) for sigma in each.sigma],
        "error_each": each.error,
    }


def plot(kernels, fits, path):
    """A row of filters, and below it a row for each order."""
    shown = min(SHOWN, kernels.shape[3])
    figure = Figure(figsize=(1.1 * shown, 1.3 * (1 + len(fits))), layout="constrained")
    panels = figure.subplots(1 + len(fits), shown, squeeze=False)
    for number in range(shown):
        limit = np.abs(kernels[..., 0, number]).max()
        rows = [("given", kernels[..., 0, number], None)]
        for order, fitted in fits.items():
            border = (fitted.reconstruction.shape[0] - kernels.shape[0]) // 2
            middle = slice(border, fitted.reconstruction.shape[0] - border)
            rows.append((f"order {order}", fitted.reconstruction[middle, middle, 0, number], fitted.sigma[number]))
        for panel, (name, filter_, sigma) in zip(panels[:, number], rows, strict=True):
            panel.imshow(filter_, cmap="gray", vmin=-limit, vmax=limit)
            panel.set(xticks=[], yticks=[])
            if number == 0:
                panel.set_ylabel(name)
            if sigma is not None:
                panel.set_title(f"σ = {sigma:.2f}", fontsize=7)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
