"""Draws the pictures of docs/how_it_works.md: `python docs/_pictures.py` writes them into docs/images/."""

import pathlib

import numpy as np
from keras import ops
from matplotlib.figure import Figure

from keras_njet._convolution import sizes
from keras_njet._convolution.scale_space import derivative_orders, gaussian_derivatives, sampled_derivatives

IMAGES = pathlib.Path(__file__).parent / "images"
ORDER, EXTENT = 3, 2.0
ALPHA = np.array([-0.1, 0.6, -0.5, 0.1, 0.3, 0.6, -0.1, 0.4, 0.2, -0.1])  # chosen by hand
LARGEST = 9  # pixels from the centre that panels show


def basis(sigma, radius):
    """The ten derivatives, as images."""
    along = sampled_derivatives(sigma, radius, ORDER)
    return [np.outer(along[i], along[j]) for i, j in derivative_orders(ORDER, 2)]


def show(axes, image, title, most=None):
    most = most or np.abs(image).max()
    axes.imshow(image, cmap="RdBu_r", vmin=-most, vmax=most)
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def derivatives():
    sigma, radius = 2.5, 5
    images = basis(sigma, radius)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    grid = figure.add_gridspec(2, 7)
    most = max(np.abs(image).max() for image in images)
    for index, (image, (i, j), alpha) in enumerate(zip(images, derivative_orders(ORDER, 2), ALPHA, strict=True)):
        axes = figure.add_subplot(grid[index // 5, index % 5])
        show(axes, image, f"{alpha:+.2f} · $G^{{{i},{j}}}$", most)
    show(figure.add_subplot(grid[:, 5:]), np.tensordot(ALPHA, images, axes=1), "their sum: a filter")
    return figure


def scales():
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    for axes, sigma in zip(figure.subplots(1, 3), (1.0, 2.0, 4.0), strict=True):
        radius = sizes.filter_radius(sigma, EXTENT)
        image = np.zeros((2 * LARGEST + 1, 2 * LARGEST + 1))
        inside = slice(LARGEST - radius, LARGEST + radius + 1)
        image[inside, inside] = np.tensordot(ALPHA, basis(sigma, radius), axes=1)
        size = sizes.kernel_size(sigma, EXTENT)
        show(axes, image, f"σ = {sigma:g}: {size}×{size} pixels")
        side = np.array([-0.5, 0.5]) * size + LARGEST
        axes.plot(side[[0, 1, 1, 0, 0]], side[[0, 0, 1, 1, 0]], color="black", linewidth=1)
    figure.suptitle(
        "the same coefficients, in a square of 19×19 pixels; outside of the frame the filter is zero", fontsize=9
    )
    return figure


def matrices():
    pixels = 32
    distance = ops.convert_to_tensor(np.subtract.outer(np.arange(pixels), np.arange(pixels)).astype("float32"))
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    for row, sigma in zip(figure.subplots(2, 4), (1.0, 3.0), strict=True):
        scale = ops.convert_to_tensor(np.float32(sigma))
        found = gaussian_derivatives(distance, scale, ORDER, sizes.filter_radius(scale, EXTENT))
        for order, (axes, matrix) in enumerate(zip(row, found, strict=True)):
            show(axes, ops.convert_to_numpy(matrix), f"order {order}, σ = {sigma:g}")
    figure.suptitle(
        f"matrices for a row of {pixels} pixels: each row of a matrix is a filter, at one place", fontsize=9
    )
    return figure


def size():
    sigma = np.linspace(0.3, 6, 2000)
    figure = Figure(figsize=(8.5, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(sigma, [sizes.kernel_size(each, EXTENT) for each in sigma])
    left.set(xlabel="σ (pixels)", ylabel="size of the filter (pixels)", title="2⌈2σ⌉ + 1")
    for rate, style in ((2.0, "-"), (4.0, "--"), (6.0, ":")):
        right.plot(sigma, [sizes.subsampled_size(each, 32, rate) for each in sigma], style, label=f"r = {rate:g}")
    right.set(xlabel="σ (pixels)", ylabel="size of the feature map (pixels)", title="⌊32·½^(σ/r)⌋", ylim=(0, 33))
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name, draw in (("derivatives", derivatives), ("scales", scales), ("matrices", matrices), ("sizes", size)):
        draw().savefig(IMAGES / f"{name}.png", dpi=110)
