"""Predicts the layers of the grid on an accelerator, by arithmetic: nothing is run.

    python -m benchmarks.roofline                     # the table of the README, for an H100

An evaluation takes as long as its multiplications at the device's rate or as its bytes at the bandwidth, whichever is
longer, for each of its products and convolutions. Of a training step the multiplications are three times those of a
forward pass, and so are the bytes. The device's figures are those of its data sheet (H100 SXM, dense). On a GPU,
`python -m benchmarks.layers` tests the prediction.
"""

import argparse
import dataclasses
import math

from benchmarks.layers import ORDER, SIGMAS, WORKLOADS

PASSES = 3  # forward, and the gradients of both factors


@dataclasses.dataclass(frozen=True)
class Device:
    """What a device can do: multiply-accumulates and bytes a second, and the bytes of a number."""

    rate: float
    rate_without_tensor_cores: float
    bandwidth: float
    bytes_of_a_number: int


DEVICES = {
    "float32 (TF32)": Device(247e12, 33.5e12, 3.35e12, 4),
    "bfloat16": Device(494e12, 67e12, 3.35e12, 2),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--order", type=int, default=ORDER)
    arguments = parser.parse_args()
    for line in table(arguments.order):
        print(line)


def table(order=ORDER):
    """For each layer and σ: the predicted time of the best evaluation over that of the convolution, and which it is."""
    yield "| workload | precision | " + " | ".join(f"σ = {sigma:g}" for sigma in SIGMAS) + " |"
    yield "|---" * (2 + len(SIGMAS)) + "|"
    for name, (kind, batch, sizes, channels, filters) in WORKLOADS.items():
        if kind in ("convolution", "depthwise"):
            for precision, device in DEVICES.items():
                cells = (predict(kind, batch, sizes, channels, filters, sigma, order, device) for sigma in SIGMAS)
                yield f"| {name} | {precision} | " + " | ".join(f"{ratio:.2f} {way}" for ratio, way in cells) + " |"


def predict(kind, batch, sizes, channels, filters, sigma, order, device):
    """The time of the best evaluation over that of Keras' layer of the same support, and "composed" or "matrices"."""
    from keras_njet._convolution import costs
    from keras_njet._convolution.sizes import filter_radius

    radius = filter_radius(sigma, extent=2.0)
    workload = costs.Workload(sizes, sizes, sizes, channels, filters, channels if kind == "depthwise" else 1, order)
    convolution = of_convolution(workload, radius, batch, device)
    times = {"composed": convolution + of_composing(workload, radius, device)}
    times["matrices"] = min(of_matrices(workload, mixing, batch, device) for mixing in range(len(sizes) + 1))
    best = min(times, key=times.get)
    return times[best] / convolution, best


def of_convolution(workload, radius, batch, device):
    """Seconds of a training step of a convolution."""
    pixels, taps = math.prod(workload.count), (2 * radius + 1) ** len(workload.count)
    channels = workload.channels // workload.groups
    rate = device.rate_without_tensor_cores if workload.groups > 1 else device.rate
    multiplications = batch * pixels * taps * channels * workload.filters
    numbers = batch * pixels * (workload.channels + workload.filters) + taps * channels * workload.filters
    return PASSES * longer(multiplications, numbers, rate, device)


def of_composing(workload, radius, device):
    """Seconds to compose the filters from the basis, and back."""
    taps, basis = (2 * radius + 1) ** len(workload.count), basis_of(workload)
    weights = workload.channels // workload.groups * workload.filters
    return PASSES * longer(basis * taps * weights, (basis + taps) * weights, device.rate, device)


def of_matrices(workload, mixing, batch, device):
    """Seconds of a training step by products with matrices, each limited by its own multiplications or bytes."""
    from keras_njet._convolution import costs

    along_axes, mixed = costs.multiplications(workload, mixing)
    seconds = 0.0
    for multiplications, size, _ in along_axes:
        written = multiplications / size
        seconds += longer(batch * multiplications, 2 * batch * written, device.rate, device)
    axes, basis = len(workload.count), basis_of(workload)
    at = mixed / (basis * (workload.channels // workload.groups) * workload.filters)
    read = basis_of(workload, mixing)  # the maps of the axes that are done: one, the input, before the first
    written = basis_of(workload, axes - 1) if mixing == axes else basis  # in the end orders of an axis are summed
    numbers = batch * at * (read * workload.channels + written * workload.filters)
    return PASSES * (seconds + longer(batch * mixed, numbers, device.rate, device))


def basis_of(workload, axes=None):
    """How many derivatives there are along all axes, or along the first few."""
    from keras_njet._convolution.scale_space import derivative_orders

    return len(derivative_orders(workload.order, len(workload.count) if axes is None else axes))


def longer(multiplications, numbers, rate, device):
    """Seconds of some work: what limits it."""
    return max(multiplications / rate, numbers * device.bytes_of_a_number / device.bandwidth)


if __name__ == "__main__":
    main()
