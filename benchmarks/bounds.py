"""Compares the time of the matrix products with what the arithmetic and the memory of this machine allow.

    python -m benchmarks.bounds             # every installed backend; a table, and JSON in results/benchmarks/

For each workload at σ = 2.1, by matrices: the multiply-accumulates of a forward and backward pass (three times
those of a forward pass), divided by the rate of one large product on this backend; the bytes that are written and read
again, divided by the bandwidth of adding a number to a large array; and the measured time, divided by the sum of both.
"""

import json

from benchmarks import layers, timing

SIGMA, ORDER, PASSES = 2.1, 3, 3
LARGE = 2048


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure_all(arguments.repeats)))
        return
    for backend in arguments.backends:
        result = timing.in_a_process(__file__, backend, "--repeats", arguments.repeats)
        timing.save(arguments.out, "bounds", backend, result)
        print(f"\n{result['versions']}; {result['products'] / 1e9:.0f} billion multiply-accumulates a second, ", end="")
        print(f"{result['bytes'] / 1e9:.0f} GB a second\n")
        print("| workload | products, ms | memory, ms | measured, ms | measured / both |\n" + "|---" * 5 + "|")
        for row in result["rows"]:
            times = [1000 * row[key] for key in ("products", "memory", "measured")]
            over = row["measured"] / (row["products"] + row["memory"])
            print(
                f"| {row['workload']} | " + " | ".join(f"{time:.0f}" for time in times) + f" | {over:.1f} |", flush=True
            )


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    return parser.parse_args()


def measure_all(repeats):
    import numpy as np

    from keras_njet._convolution import costs, evaluations

    # Prices with which a cost is a number of multiply-accumulates, and of those and of numbers that are written.
    of_products = costs.Prices(small_axis=0, few_channels=0, writing=0)
    of_both = costs.Prices(small_axis=0, few_channels=0, writing=1)
    products, bandwidth = rates(repeats)
    rows = []
    for workload, (kind, batch, sizes, channels, filters) in layers.WORKLOADS.items():
        if kind != "convolution":
            continue
        work = costs.Workload(sizes, sizes, sizes, channels, filters, 1, ORDER)
        (matrices,) = evaluations.choices(work, costs.prices("training"), implementation="matrix")
        multiplications = matrices.cost(work, of_products)
        written = matrices.cost(work, of_both) - multiplications
        layer = layers.make_layers(kind, len(sizes), filters, SIGMA, ORDER, implementation="matrix")["N-Jet"]
        x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
        layer.build(x.shape)
        (measured,) = timing.interleaved([timing.training_pass(layer, x)], repeats, budget=10.0)
        rows.append(
            {
                "workload": workload,
                "mixing": matrices.mixing,
                "products": PASSES * batch * multiplications / products,
                "memory": PASSES * batch * 2 * 4 * written / bandwidth,
                "measured": measured,
            }
        )
    return {"versions": timing.versions(), "products": products, "bytes": bandwidth, "rows": rows}


def rates(repeats):
    """Multiply-accumulates a second of a large product, and bytes a second of a large sum."""
    import keras
    import numpy as np

    class Product(keras.layers.Layer):
        def call(self, x):
            return keras.ops.matmul(x, x)

    class Sum(keras.layers.Layer):
        def call(self, x):
            return x + 1.0

    one, many = (np.ones((count, 1, LARGE, LARGE), "float32") for count in (1, 16))
    layer_and_input = ((Product(), one), (Sum(), many))
    for layer, x in layer_and_input:
        layer.build(x.shape)
    seconds = timing.interleaved([timing.forward_pass(*pair) for pair in layer_and_input], repeats, budget=10.0)
    return LARGE**3 / seconds[0], 2 * many.nbytes / seconds[1]


if __name__ == "__main__":
    main()
