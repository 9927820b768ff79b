"""Shows how the time of a training step grows: with σ, with the feature map, with the channels, with the order.

    python -m benchmarks.growth             # every installed backend; JSON and a plot in results/benchmarks/

One thing is varied at a time, starting from 64×64 pixels, 64 channels and filters, σ = 2.1, order 3, batch 2. For each,
the time (forward and backward) of the N-Jet layer with learned σ, and of `Conv2D` with filters of the same support, up
to the first that takes more than a quarter of a second. Both run in one process, in turn; a figure is the median of
several runs.
"""

import json

from benchmarks import plots, timing

USUAL = {"sigma": 2.1, "size": 64, "channels": 64, "order": 3}
VARIED = {
    "sigma": (0.6, 1.1, 2.1, 4.1, 8.1),
    "size": (32, 64, 128, 256, 512),
    "channels": (16, 32, 64, 128, 256),
    "order": (1, 2, 3, 4, 5, 6),
}
BATCH = 2
SLOW = 0.25  # seconds; after a slower convolution no larger one is measured


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure_all(arguments)))
        return
    for backend in arguments.backends:
        options = ["--repeats", arguments.repeats, "--budget", arguments.budget, "--varied", *arguments.varied]
        options += ["--most", arguments.most]
        rows = timing.in_a_process(__file__, backend, *options, allocation={})
        timing.save(arguments.out, "growth", backend, rows)
        print(f"\n{rows[0]['versions']}\n\n| varied | value | N-Jet, s | Conv2D, s |\n|---|---|---|---|")
        for row in rows:
            convolution = "–" if row["Conv2D"] is None else f"{row['Conv2D']:.3f}"
            print(f"| {row['varied']} | {row['value']:g} | {row['N-Jet']:.3f} | {convolution} |", flush=True)
    plots.growth(arguments.out)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--varied", nargs="+", choices=VARIED, default=list(VARIED))
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds after which a pair is repeated no more")
    parser.add_argument("--most", type=float, default=float("inf"), help="leave out larger values")
    return parser.parse_args()


def measure_all(arguments):
    rows = []
    for varied in arguments.varied:
        with_conv2d = True
        for value in [value for value in VARIED[varied] if value <= arguments.most]:
            seconds = measure({**USUAL, varied: value}, with_conv2d, arguments)
            with_conv2d = with_conv2d and seconds["Conv2D"] < SLOW
            rows.append({"versions": timing.versions(), "varied": varied, "value": value, **seconds})
    return rows


def measure(setting, with_conv2d, arguments):
    import keras
    import numpy as np

    from keras_njet import NJetConv2D

    size, channels = setting["size"], setting["channels"]
    x = np.random.default_rng(0).normal(size=(BATCH, size, size, channels)).astype("float32")
    njet = NJetConv2D(channels, order=setting["order"], sigma=setting["sigma"], use_bias=False)
    layers = [njet]
    if with_conv2d:
        layers.append(keras.layers.Conv2D(channels, njet.kernel_size, padding="same", use_bias=False))
    for layer in layers:
        layer.build(x.shape)
    passes = [timing.training_pass(layer, x) for layer in layers]
    seconds = timing.interleaved(passes, arguments.repeats, arguments.budget)
    return dict(zip(("N-Jet", "Conv2D"), [*seconds, None], strict=False))


if __name__ == "__main__":
    main()
