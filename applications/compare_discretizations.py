"""What is a Gaussian derivative on a pixel grid, when σ is small? Three answers, compared on smaller images.

    python -m applications.compare_discretizations --data-dir DIR

The value at the centre of each pixel ("sampled", as in the paper), the mean over each pixel ("integrated"), and the
discrete analogue of the Gaussian with its central differences ("discrete"; Lindeberg, 1990), e^-t·I_n(t) with t = σ²,
which the layers do not have. All are computed here by SciPy.

Writes into --out: table.md and results.json. For several σ, how each derivative responds to the polynomial that it
should find, divided by the response of the continuous one: 1 is right. And the test accuracy on Fashion-MNIST of the
released N-Jet-NIN, rescaled to smaller images, with its filters made by each of them and recomputed batch statistics.
"""

import math
import warnings

import numpy as np
import scipy.special

from applications import _results, _tables
from applications._arguments import ArgumentParser
from applications.data_sets import images

SIGMAS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
ORDER = 3
SIZE, BATCH_SIZE = 28, 100


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("compare_discretizations", __doc__)
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 0.75, 1.0])
    parser.add_argument("--evaluated", type=int, default=2000, help="number of test images, from the first on")
    parser.add_argument("--statistics", type=int, default=1000, help="images of which batch statistics are taken")
    return parser.read(given)


def sampled(x, sigma, end):
    """Derivatives of orders 0 to 3 at pixels, times σ^m; the support ends at a distance, maybe inside of a pixel."""
    share = np.clip(end + 0.5 - np.abs(x), 0, 1)
    z = (x - 0.5 * (1 - share) * np.sign(x)) / sigma
    gaussian = share * np.exp(-(z**2) / 2)
    return np.stack([hermite(z, m) * gaussian / gaussian.sum() for m in range(ORDER + 1)])


def integrated(x, sigma, end):
    """Likewise, their means over the pixels."""
    edges = np.clip(np.append(x - 0.5, x[-1] + 0.5), -end, end) / sigma
    gaussian = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    primitives = [scipy.special.ndtr(edges), *(hermite(edges, m) * gaussian for m in range(ORDER))]
    return np.diff(primitives) / scipy.special.erf(end / sigma / math.sqrt(2))


def discrete(x, sigma, end):
    """Likewise, central differences of the discrete analogue of the Gaussian."""
    n = np.arange(-len(x), len(x) + 1)
    gaussian = scipy.special.ive(np.abs(n), sigma**2)
    share = np.clip(end + 0.5 - np.abs(n), 0, 1)
    found = [gaussian, (np.roll(gaussian, -1) - np.roll(gaussian, 1)) / 2]
    for m in range(2, ORDER + 1):
        found.append(np.roll(found[m - 2], -1) - 2 * found[m - 2] + np.roll(found[m - 2], 1))
    kept = np.isin(n, x)
    return np.stack([sigma**m * one[kept] * share[kept] for m, one in enumerate(found)]) / np.sum(gaussian * share)


def hermite(z, m):
    return (-1) ** m * np.polynomial.hermite_e.hermeval(z, [0] * m + [1])


KINDS = {"sampled": sampled, "integrated": integrated, "discrete": discrete}


def measure(arguments):
    """Responses to polynomials, and accuracies."""
    return {"responses": responses(), "runs": accuracies(arguments)}


def responses():
    """What each derivative finds in x^m / m!, over the continuous (-σ)^m, without a limit to its support."""
    x = np.arange(-12, 13)
    rows = []
    for kind, derivatives in KINDS.items():
        for sigma in SIGMAS:
            found = derivatives(x, sigma, 12.5)
            shares = [np.sum(x**m / math.factorial(m) * found[m]) / (-sigma) ** m for m in range(ORDER + 1)]
            rows.append({"kind": kind, "sigma": sigma, "shares": [float(share) for share in shares]})
    return rows


def accuracies(arguments):
    """The released network at every factor, with the filters of each kind."""
    import keras_njet

    (x_train, _), (x_test, y_test) = images.load_pixels("fashion_mnist", arguments.data_dir)
    nin = keras_njet.applications.nin
    model = keras_njet.applications.NJetNIN(weights="fashion_mnist", width=0.25, input_shape=(SIZE, SIZE, 1))
    rows = []
    for factor in arguments.factors:
        x, to_adapt = [
            nin.preprocess_input(
                images.resize(pixels[:count].astype("float32"), round(factor * SIZE)), "channels_last", "fashion_mnist"
            )
            for pixels, count in ((x_test, arguments.evaluated), (x_train, arguments.statistics))
        ]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Below some σ", UserWarning)  # what is compared
            rescaled = keras_njet.rescale(model, factor)
        for kind in KINDS:
            plain = with_filters(rescaled, kind)
            row = {"factor": factor, "kind": kind}
            for name in ("as it is", "statistics"):
                if name == "statistics":
                    keras_njet.adapt_batch_statistics(plain, to_adapt, batch_size=BATCH_SIZE, verbose=0)
                predicted = plain.predict(x, batch_size=BATCH_SIZE, verbose=0).argmax(-1)
                row[name] = float(np.mean(predicted == y_test[: len(x)]))
            print(f"  ×{factor:g} {kind}: {row['as it is']:.4f}, with statistics {row['statistics']:.4f}", flush=True)
            rows.append(row)
    return rows


def with_filters(model, kind):
    """A model of plain convolutions, with filters that are made by a discretization."""
    import keras

    import keras_njet

    plain = keras_njet.freeze(model)
    for layer in model.layers:
        if not isinstance(layer, keras_njet.NJetConv2D):
            continue
        convolution = plain.get_layer(layer.name)
        sigma, radius = float(keras.ops.convert_to_numpy(layer.sigma)), convolution.kernel_size[0] // 2
        end = layer.unit * (math.ceil(layer.extent * sigma / layer.unit - 1e-4) + 0.5)
        along = KINDS[kind](np.arange(-radius, radius + 1), sigma, end)
        pairs = [(i, j) for i in range(layer.order + 1) for j in range(layer.order + 1 - i)]
        basis = np.stack([np.multiply.outer(along[i], along[j]) for i, j in pairs])
        kernel = np.tensordot(basis, keras.ops.convert_to_numpy(layer.coefficients), axes=(0, 0))
        if kind == layer.discretization:  # the layer's own
            np.testing.assert_allclose(kernel, keras.ops.convert_to_numpy(layer.kernel), atol=1e-4)
        convolution.kernel.assign(kernel)
    return plain


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    of_orders = [
        [row["kind"], row["sigma"], *(f"{share:.2f}" for share in row["shares"][1:])] for row in results["responses"]
    ]
    heads = ["filters", "σ", *(f"order {m}" for m in range(1, ORDER + 1))]
    lines = [
        [f"×{row['factor']:g}", row["kind"], f"{row['as it is']:.3f}", f"{row['statistics']:.3f}"]
        for row in results["runs"]
    ]
    return "\n".join(
        [
            _tables.markdown(heads, of_orders),
            _tables.markdown(["images", "filters", "rescaled", "with statistics"], lines),
            _tables.footnote(results),
        ]
    )


if __name__ == "__main__":
    main()
