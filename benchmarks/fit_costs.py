"""Fits the constants of `keras_njet/costs.py` to measured times.

    python benchmarks/fit_costs.py                    # every installed backend; about 8 minutes on 2 cores

Measures each evaluation (each order of the matrix products, in tiles and not) over `Conv2D` with 5×5 filters, in
training and in inference, on workloads from 32 to 256 pixels and from 3 to 512 channels. Then it draws constants at
random and keeps those that have the evaluations in the right order: the ones with the least regret, the time of the
evaluation that they choose over that of the best one, and among equals those with the least squared error of the log
times. The cost of dense convolutions is the geometric mean on each backend; the spread around it counts as an error,
too. The matrices are fitted to training; what convolutions take in inference is fitted to them. Prints the constants.
"""

import json
import math
import random

import timing

WORKLOADS = {  # name: (batch, size, channels, filters, mixings)
    "32x32x96-192": (32, 32, 96, 192, ("between", "last", "together")),
    "21x21x192-192": (32, 21, 192, 192, ("between", "last", "together")),
    "32x32x48-192": (32, 32, 48, 192, ("between", "last", "together")),
    "128x128x64-64": (2, 128, 64, 64, ("between", "last", "together")),
    "224x224x3-64": (2, 224, 3, 64, ("last", "together")),
    "256x256x16-16": (2, 256, 16, 16, ("between", "last", "together")),
    "128x128x32-32": (2, 128, 32, 32, ("first", "between", "last", "together")),
    "41x41x512-21": (1, 41, 512, 21, ("first", "between")),
}
ORDER = 3
CONSTANTS = {"SMALL_AXIS": (10, 200), "FEW_CHANNELS": (5, 60), "WRITING": (5, 100)}
NARROW = (0.1, 20)
PHASES = ("training", "inference")


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure_all(arguments)))
        return
    measured = {}
    for backend in arguments.backends:
        if not arguments.reuse:
            rows = timing.in_a_process(__file__, backend, "--repeats", arguments.repeats)
            timing.save(arguments.out, "evaluations", backend, rows)
        measured[backend] = json.loads((arguments.out / f"evaluations_{backend}.json").read_text())
    fit(measured, arguments.draws)


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--reuse", action="store_true", help="fit to the times that were measured last")
    parser.add_argument("--draws", type=int, default=5000, help="sets of constants that are tried")
    return parser.parse_args()


def measure_all(arguments):
    """Times over those of `Conv2D`: a list of [workload, kind, mixing, ratio in training, ratio in inference]."""
    import keras
    import numpy as np

    from keras_njet import NJetConv2D
    from keras_njet.convolution import costs, sizes

    halo, block = costs.TILES[0]

    def layer_with(kind, mixing, filters):
        reach = halo if kind == "tiles" else sizes.MAX_RADIUS
        choice = costs.Evaluation(kind, reach, mixing=mixing, block=block)
        layer = NJetConv2D(filters, order=ORDER, use_bias=False)
        layer._choose_evaluation = lambda *_: choice
        return layer

    rows = []
    for name, (batch, size, channels, filters, mixings) in WORKLOADS.items():
        x = np.random.default_rng(0).normal(size=(batch, size, size, channels)).astype("float32")
        ways = [
            (kind, mixing) for mixing in mixings for kind in ("matrices", "tiles") if kind == "matrices" or size > 100
        ]
        layers = [keras.layers.Conv2D(filters, 5, padding="same", use_bias=False)]
        layers += [layer_with(*way, filters) for way in ways]
        for layer in layers:
            layer.build(x.shape)
        ratios = []
        for make_pass in (timing.training_pass, timing.forward_pass):
            times = timing.interleaved([make_pass(layer, x) for layer in layers], arguments.repeats, budget=6.0)
            ratios.append([seconds / times[0] for seconds in times[1:]])
        rows += [[name, *way, *both] for way, *both in zip(ways, *ratios, strict=True)]
    return rows


def fit(measured, draws):
    from keras_njet.convolution import costs

    generator = random.Random(0)

    def drawn(least, most):
        return float(f"{math.exp(generator.uniform(math.log(least), math.log(most))):.2g}")

    def draw(phase):
        if phase == "training":
            for name, limits in CONSTANTS.items():
                setattr(costs, name, drawn(*limits))
        costs.NARROW[phase] = drawn(*NARROW)

    for phase in PHASES:
        best = None
        for _ in range(draws):
            draw(phase)
            regret, error, dense = judge(measured, phase)
            constants = {name: getattr(costs, name) for name in CONSTANTS}
            if best is None or (round(regret, 3), error) < best[0]:
                best = (round(regret, 3), error), constants, costs.NARROW[phase], dense
        (regret, error), constants, costs.NARROW[phase], dense = best
        for name, value in constants.items():
            setattr(costs, name, value)
        print(f"\n{phase}: " + ", ".join(f"{name} = {value:g}" for name, value in constants.items()))
        print(f"NARROW = {costs.NARROW[phase]:g}")
        print("DENSE = {" + ", ".join(f"{backend}: {value:.2f}" for backend, value in dense.items()) + "}")
        print(f"regret {regret:.3f}, error of the log times {math.sqrt(error):.2f}", flush=True)


def judge(measured, phase):
    """Mean regret, mean squared error of the log times, and the cost of dense convolutions on each backend."""
    regrets, errors, dense = [], [], {}
    for backend, rows in measured.items():
        ratios = {(name, kind, mixing): both[PHASES.index(phase)] for name, kind, mixing, *both in rows}
        logs = {way: math.log(estimate(*way, phase)) - math.log(ratio) for way, ratio in ratios.items()}
        mean = sum(logs.values()) / len(logs)
        errors += [(value - mean) ** 2 for value in logs.values()]
        chosen_logs = []
        for workload in dict.fromkeys(name for name, *_ in ratios):
            ways = [way for way in ratios if way[0] == workload]
            chosen = min(ways, key=lambda way: estimate(*way, phase))
            regrets.append(math.log(ratios[chosen] / min(ratios[way] for way in ways)))
            chosen_logs.append(logs[chosen])
        of_dense = sum(chosen_logs) / len(chosen_logs)
        errors += [(value - of_dense) ** 2 for value in chosen_logs]
        dense[backend] = math.exp(of_dense)
    return sum(regrets) / len(regrets), sum(errors) / len(errors), dense


def estimate(name, kind, mixing, phase):
    """What `costs` has for it, over a multiply-accumulate for each product of the dense convolution."""
    from keras_njet.convolution import costs

    _, size, channels, filters, _ = WORKLOADS[name]
    workload = costs.Workload((size, size), (size, size), channels, filters, 1, ORDER)
    if kind == "tiles":
        cost = costs.by_tiles(workload, *costs.TILES[0], mixing).cost
    else:
        cost = costs.by_matrices(workload, mixing).cost
    return cost / costs.dense_multiplications(workload, 2, phase)


if __name__ == "__main__":
    main()
