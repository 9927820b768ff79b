"""Times `NJetASPP` against the dilated `ASPP` that it replaces, 41×41×2048 → 21.

    python benchmarks/aspp.py                         # every installed backend
    python benchmarks/aspp.py --backend jax --sigmas 1 12 --json results.json

Prints the time of the N-Jet layer, coefficients shared between its four scales, divided by that of four dilated 3×3
convolutions (rates 6, 12, 18, 24), for a forward pass and for a forward and backward pass, with all four scales at σ.
"""

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys

import conv2d


def main():
    arguments = parse_arguments()
    if arguments.backend is None:
        for backend in [name for name, module in conv2d.BACKENDS.items() if importlib.util.find_spec(module)]:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--backend", backend], check=True)
        return
    os.environ["KERAS_BACKEND"] = arguments.backend
    import keras

    module = importlib.import_module(conv2d.BACKENDS[arguments.backend])
    versions = f"keras {keras.__version__}, {arguments.backend} {module.__version__}"
    print(f"\n{versions}; time of NJetASPP of order {arguments.order} / time of ASPP\n")
    print(f"| σ | size | forward | forward + backward | ASPP ms |\n{'|---' * 5}|", flush=True)
    rows = []
    for sigma in arguments.sigmas:
        rows.append({"backend": arguments.backend, "versions": versions, **measure(sigma, arguments)})
        print(
            "| {sigma:g} | {kernel_size} | {forward:.2f} | {forward_backward:.2f} | {baseline_ms:.0f} |".format(
                **rows[-1]
            )
        )
    if arguments.json:
        conv2d.append(arguments.json, rows)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=conv2d.BACKENDS, help="one backend; default: all that are installed")
    parser.add_argument("--sigmas", nargs="+", type=float, default=(1.0, 3.0, 6.0, 10.0, 12.0))
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--channels", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5, help="runs of which the median is taken")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds after which a pair is repeated no more")
    parser.add_argument("--json", help="file to which the results are added")
    return parser.parse_args()


def measure(sigma, arguments):
    import numpy as np

    from keras_njet import ASPP, NJetASPP

    x = np.random.default_rng(0).normal(size=(1, 41, 41, arguments.channels)).astype("float32")
    layers = [ASPP(21), NJetASPP(21, arguments.order, sigmas=(sigma,) * 4)]
    for layer in layers:
        layer.build(x.shape)
    forward = conv2d.interleaved([conv2d.forward_pass(layer, x) for layer in layers], arguments)
    both = conv2d.interleaved([conv2d.training_pass(layer, x) for layer in layers], arguments)
    return {
        "sigma": sigma,
        "kernel_size": layers[1].kernel_sizes[0],
        "forward": forward[1] / forward[0],
        "forward_backward": both[1] / both[0],
        "baseline_ms": 1000 * both[0],
    }


if __name__ == "__main__":
    main()
