"""Times a training step of N-Jet-NIN against NIN, and against NIN with 5×5 filters and the same feature maps.

    python -m benchmarks.nin                # every installed backend; a table, and JSON in results/benchmarks/
    python -m benchmarks.nin --backends jax

A step is `train_on_batch` with SGD on 32 images of 32×32×3, all scales at σ = 1. The networks run in one process, in
turn; a figure is the ratio of the medians of several steps. Beside it stands the ratio of the multiply-accumulates of
all convolutions, forward: the least that can be expected of products and convolutions that run at the same rate.
"""

import json

import numpy as np

from benchmarks import timing

ROWS = (  # network, beside
    ("N-Jet-NIN, order 3", "NIN"),
    ("N-Jet-NIN, order 2", "NIN"),
    ("N-Jet-NIN, order 3", "NIN, 5×5, same feature maps"),
    ("N-Jet-NIN, order 2", "NIN, 5×5, same feature maps"),
)


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure(arguments)))
        return
    for backend in arguments.backends:
        options = ["--batch-size", arguments.batch_size, "--width", arguments.width]
        options += ["--repeats", arguments.repeats, "--budget", arguments.budget]
        result = timing.in_a_process(__file__, backend, *options)
        timing.save(arguments.out, "nin", backend, result)
        print(f"\n{result['versions']}; time of a training step / that of the baseline\n")
        print("| network | baseline | ratio | of arithmetic | baseline ms |\n|---|---|---|---|---|")
        for network, baseline in ROWS:
            time, counted = (result[key][network] / result[key][baseline] for key in ("seconds", "multiplications"))
            milliseconds = 1000 * result["seconds"][baseline]
            print(f"| {network} | {baseline} | {time:.2f} | {counted:.2f} | {milliseconds:.0f} |", flush=True)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--width", type=float, default=1.0, help="multiplies all numbers of filters")
    parser.add_argument("--repeats", type=int, default=15, help="steps of which the median is taken")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which steps are repeated no more")
    return parser.parse_args()


def measure(arguments):
    from keras_njet import applications

    width = {"width": arguments.width}
    models = {
        "NIN": applications.NIN(**width),
        "NIN, 5×5, same feature maps": same_feature_maps(arguments.width),
        "N-Jet-NIN, order 3": applications.NJetNIN(order=3, **width),
        "N-Jet-NIN, order 2": applications.NJetNIN(order=2, **width),
    }
    rng = np.random.default_rng(0)
    x = rng.normal(size=(arguments.batch_size, 32, 32, 3)).astype("float32")
    y = rng.integers(0, 10, size=arguments.batch_size)
    steps = [training_step(model, x, y) for model in models.values()]
    seconds = timing.interleaved(steps, arguments.repeats, arguments.budget)
    return {
        "versions": timing.versions(),
        "seconds": dict(zip(models, seconds, strict=True)),
        "multiplications": {name: multiplications(model) for name, model in models.items()},
    }


def multiplications(model):
    """Counts the multiply-accumulates of all convolutions of a model, for one image of 32×32×3."""
    import keras

    from keras_njet import NJetConv2D, _backend
    from keras_njet._convolution import costs, evaluations

    only_products = costs.Prices(small_axis=0, few_channels=0, writing=0)
    total = 0
    shapes = _backend.layer_shapes(model, keras.KerasTensor((1, 32, 32, 3), "float32"))
    for layer in _backend.inner_layers(model):
        if isinstance(layer, (keras.layers.Conv2D, NJetConv2D)):
            (_, *in_size, channels), (_, *out_size, filters) = shapes[id(layer)]
            if isinstance(layer, NJetConv2D):
                sizes = tuple(in_size), tuple(in_size), tuple(out_size)
                workload = costs.Workload(*sizes, channels, filters, 1, layer.order)
                (matrices,) = evaluations.choices(workload, costs.prices("training"), implementation="matrix")
                total += matrices.cost(workload, only_products)
            else:
                total += out_size[0] * out_size[1] * int(np.prod(layer.kernel.shape))
    return total


def training_step(model, x, y):
    """A function that trains a model for one step and waits for its loss."""
    import keras

    model.compile(keras.optimizers.SGD(1e-6, momentum=0.9), "sparse_categorical_crossentropy")
    return lambda: float(model.train_on_batch(x, y))


def same_feature_maps(width):
    """NIN with plain 5×5 convolutions, whose feature maps are resampled to the sizes that σ = 1 gives."""
    import keras

    from keras_njet._convolution import sampling, sizes
    from keras_njet.applications import _building, nin

    class Shrink(keras.layers.Layer):
        def call(self, inputs):
            new_sizes = [sizes.subsampled_size(1.0, size, 4.0) for size in inputs.shape[1:3]]
            return sampling.resample(inputs, new_sizes)

    class Convolutions(_building.PlainConvolutions):
        def layer(self, filters, size, strides=1, name=None):
            return keras.Sequential([super().layer(filters, 5, name=name), Shrink()])

    inputs = keras.Input((32, 32, 3))
    outputs = nin.build(inputs, Convolutions(), _building.Top(), subsample=False, width=width)
    return keras.Model(inputs, outputs, name="same_feature_maps")


if __name__ == "__main__":
    main()
