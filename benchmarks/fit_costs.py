"""Fits the prices of `keras_njet/_convolution/costs.py` to measured times.

    python -m benchmarks.fit_costs          # every installed backend; about 10 minutes on 2 cores
    python -m benchmarks.fit_costs --reuse --out benchmarks/results         # fits to the times that are kept

Measures the evaluations by matrices (each order of the products, in tiles and not) over the one by composed 5×5
filters, in training and in inference, on workloads of one, two and three axes and from 3 to 512 channels. Then it draws
prices at random and keeps those that have the evaluations in the right order: the ones with the least regret, the time
of the evaluation that they choose over that of the best one, and among equals those with the least squared error of the
log times. The price of dense convolutions is the geometric mean on each backend, over the processors whose times are in
the folder; the spread around it counts as an error, too. The matrices are fitted to training; what convolutions take in
inference is fitted to them. Prints the prices as they stand in `costs.py`.
"""

import dataclasses
import functools
import json
import math
import random
import statistics

from benchmarks import timing

WORKLOADS = {  # name: (batch, sizes, channels, filters, mixings)
    "32x32x96-192": (32, (32, 32), 96, 192, (1, 2, "together")),
    "21x21x192-192": (32, (21, 21), 192, 192, (1, 2, "together")),
    "32x32x48-192": (32, (32, 32), 48, 192, (1, 2, "together")),
    "128x128x64-64": (2, (128, 128), 64, 64, (1, 2, "together")),
    "224x224x3-64": (2, (224, 224), 3, 64, (2, "together")),
    "256x256x16-16": (2, (256, 256), 16, 16, (1, 2, "together")),
    "128x128x32-32": (2, (128, 128), 32, 32, (0, 1, 2, "together")),
    "41x41x512-21": (1, (41, 41), 512, 21, (0, 1)),
    "32x32x16-16": (128, (32, 32), 16, 16, (1, 2, "together")),
    "16x16x32-32": (128, (16, 16), 32, 32, (1, 2, "together")),
    "8x8x64-64": (128, (8, 8), 64, 64, (1, 2)),
    "56x56x64-64": (8, (56, 56), 64, 64, (1, 2)),
    "14x14x256-256": (8, (14, 14), 256, 256, (1, 2)),
    "4096x64-64": (8, (4096,), 64, 64, (0, 1, "together")),
    "24x24x24x32-32": (2, (24, 24, 24), 32, 32, (0, 1, 2, 3, "together")),
}
ORDER, SIGMA, EXTENT = 3, 1.0, 2.0
RADIUS = 2  # of the filters with that σ
TILE = (8, 32)  # halo and block, in pixels
LIMITS = {"small_axis": (10, 200), "few_channels": (5, 60), "writing": (5, 100), "narrow": (0.1, 20)}
PHASES = ("training", "inference")


def main():
    arguments = parse_arguments()
    if arguments.backend:
        print(json.dumps(measure_all(arguments)))
        return
    for backend in arguments.backends:
        if not arguments.reuse:
            options = ["--repeats", arguments.repeats, "--budget", arguments.budget]
            result = timing.in_a_process(__file__, backend, *options, "--workloads", *arguments.workloads)
            timing.save(arguments.out, "evaluations", backend, result)
    fit(read(arguments.out), arguments.draws)


def read(folder):
    """The times that were measured, by backend and processor; files name it: evaluations_jax_<processor>.json."""
    found = {}
    for path in sorted(folder.glob("evaluations_*.json")):
        _, backend, *processor = path.stem.split("_", 2)
        found[backend, *processor] = json.loads(path.read_text())["rows"]
    return found


def parse_arguments():
    parser = timing.argument_parser(__doc__)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds after which a workload is repeated no more")
    parser.add_argument("--reuse", action="store_true", help="fit to the times that were measured last")
    parser.add_argument("--draws", type=int, default=5000, help="sets of prices that are tried")
    return parser.parse_args()


def measure_all(arguments):
    """Times over those of composed filters: rows of [workload, kind, mixing, ratio in training, ratio in inference]."""
    import numpy as np

    rows = []
    for name in arguments.workloads:
        batch, sizes, channels, _, mixings = WORKLOADS[name]
        x = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
        ways = [(kind, mixing) for mixing in mixings for kind in worthwhile_kinds(max(sizes))]
        layers = [make_layer(name, *way) for way in (("dense", None), *ways)]
        for layer in layers:
            layer.build(x.shape)
        ratios = []
        for make_pass in (timing.training_pass, timing.forward_pass):
            times = timing.interleaved([make_pass(layer, x) for layer in layers], arguments.repeats, arguments.budget)
            ratios.append([seconds / times[0] for seconds in times[1:]])
        rows += [[name, *way, *both] for way, *both in zip(ways, *ratios, strict=True)]
    return {"versions": timing.versions(), "rows": rows}


def worthwhile_kinds(size):
    """Tiles where a map is larger than several of them, whole matrices where they are not a hundred times slower."""
    return (["matrices"] if size < 1000 else []) + (["tiles"] if size > 100 else [])


def make_layer(name, kind, mixing):
    """A layer with learned coefficients and σ that evaluates its convolution in one way."""
    import keras

    from keras_njet._convolution import evaluations
    from keras_njet._convolution.sampling import Axis
    from keras_njet._convolution.scale_space import derivative_orders

    _, sizes, channels, filters, _ = WORKLOADS[name]
    axes = tuple(Axis(size, 0, 1, size, size) for size in sizes)
    convolution = evaluations.Convolution(axes, channels, filters, 1, ORDER, EXTENT)

    class Evaluated(keras.layers.Layer):
        def build(self, _):
            basis = len(derivative_orders(ORDER, len(axes)))
            self.coefficients = self.add_weight(shape=(basis, channels, filters))
            self.log2_sigma = self.add_weight(shape=(), initializer=keras.initializers.Constant(math.log2(SIGMA)))

        def call(self, x):
            coefficients = keras.ops.convert_to_tensor(self.coefficients)
            sigma = keras.ops.power(2.0, self.log2_sigma)
            return evaluation(kind, mixing).evaluate(convolution, x, coefficients, [sigma])

    return Evaluated()


def evaluation(kind, mixing):
    """The evaluation of a row of results: by a composed filter, by matrices, or by matrices in tiles."""
    from keras_njet._convolution import evaluations

    if kind == "dense":
        return evaluations.Dense(RADIUS)
    return evaluations.Matrices(mixing, *(TILE if kind == "tiles" else ()))


def fit(measured, draws):
    """Prints the prices that predict the times best."""
    from keras_njet._convolution import costs

    generator = random.Random(0)

    def draw(name):
        least, most = map(math.log, LIMITS[name])
        return float(f"{math.exp(generator.uniform(least, most)):.2g}")

    prices, dense, narrow = costs.Prices(), {}, {}
    for phase in PHASES:
        drawn = LIMITS if phase == "training" else ("narrow",)
        best = None
        for _ in range(draws):
            candidate = dataclasses.replace(prices, **{name: draw(name) for name in drawn})
            regret, error, of_dense = judge(measured, phase, candidate)
            if best is None or (round(regret, 3), error) < best[0]:
                best = (round(regret, 3), error), candidate, of_dense
        (regret, error), prices, of_dense = best
        dense[phase] = {
            backend: round(statistics.geometric_mean(of_dense[key] for key in of_dense if key[0] == backend), 2)
            for backend in dict.fromkeys(backend for backend, *_ in of_dense)
        }
        narrow[phase] = prices.narrow
        print(f"{phase}: regret {regret:.3f}, error of the log times {math.sqrt(error):.2f}", flush=True)
        for key, value in of_dense.items():
            alone, _, _ = judge({key: measured[key]}, phase, prices)
            print(f"  {', '.join(key)}: regret {alone:.3f}, price of dense convolutions {value:.2f}", flush=True)
    for name in ("small_axis", "few_channels", "writing"):
        print(f"    {name}: float = {getattr(prices, name):g}")
    print(f"_DENSE = {json.dumps(dense)}\n_NARROW = {json.dumps(narrow)}", flush=True)


def judge(measured, phase, prices):
    """Mean regret, mean squared error of the log times, and the price of dense convolutions of each key."""
    regrets, errors, dense = [], [], {}
    ways = {tuple(way) for rows in measured.values() for *way, _, _ in rows}
    estimated = {way: estimate(*way, prices) for way in ways}
    for backend, rows in measured.items():
        ratios = {tuple(way): (training if phase == "training" else inference) for *way, training, inference in rows}
        logs = {way: math.log(estimated[way] / ratio) for way, ratio in ratios.items()}
        mean = sum(logs.values()) / len(logs)
        errors += [(value - mean) ** 2 for value in logs.values()]
        chosen_logs = []
        for workload in dict.fromkeys(name for name, *_ in ratios):
            of_one = [way for way in ratios if way[0] == workload]
            chosen = min(of_one, key=estimated.get)
            regrets.append(math.log(ratios[chosen] / min(ratios[way] for way in of_one)))
            chosen_logs.append(logs[chosen])
        of_dense = sum(chosen_logs) / len(chosen_logs)
        errors += [(value - of_dense) ** 2 for value in chosen_logs]
        dense[backend] = math.exp(of_dense)
    return sum(regrets) / len(regrets), sum(errors) / len(errors), dense


def estimate(name, kind, mixing, prices):
    """The cost of an evaluation over that of composed filters, if a multiply-accumulate of these cost 1."""
    prices = dataclasses.replace(prices, dense=1.0)
    workload = make_workload(name)
    return evaluation(kind, mixing).cost(workload, prices) / evaluation("dense", None).cost(workload, prices)


@functools.cache
def make_workload(name):
    from keras_njet._convolution import costs

    _, sizes, channels, filters, _ = WORKLOADS[name]
    return costs.Workload(sizes, sizes, sizes, channels, filters, 1, ORDER)


if __name__ == "__main__":
    main()
