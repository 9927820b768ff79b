"""Approximates trained filters by Gaussian derivatives, each filter with a σ of its own (like figure 3 of the paper).

    KERAS_BACKEND=jax python fit_filters.py         # a table, and fit_filters.png in the current folder

The filters are those of the first layer of the NIN that ships with the package, trained on Fashion-MNIST.
"""

import keras
import numpy as np
from matplotlib.figure import Figure

import keras_njet

ORDERS, SHOWN = (1, 2, 3, 4, 6), 8

nin = keras_njet.applications.NIN(weights="fashion_mnist", width=0.25, input_shape=(28, 28, 1))
first = next(layer for layer in nin.layers if isinstance(layer, keras.layers.Conv2D))
filters = keras.ops.convert_to_numpy(first.kernel)  # (height, width, 1, filters)

fits = {}
print("| order | σ | error |\n|---|---|---|")
for order in ORDERS:
    fits[order] = fit = keras_njet.fit_filters(filters, order=order, sigma_sharing="filter")
    print(f"| {order} | {np.min(fit.sigma):.2f} to {np.max(fit.sigma):.2f} | {fit.error:.3f} |")

figure = Figure(figsize=(1.1 * SHOWN, 1.3 * (1 + len(ORDERS))), layout="constrained")
panels = figure.subplots(1 + len(ORDERS), SHOWN)
for index in range(SHOWN):
    limit = np.abs(filters[..., 0, index]).max()
    rows = {"given": filters}
    for order, fit in fits.items():
        border = (len(fit.reconstruction) - len(filters)) // 2  # a fit may be larger than the filter
        rows[f"order {order}"] = fit.reconstruction[border : border + len(filters), border : border + len(filters)]
        panels[list(fits).index(order) + 1, index].set_title(f"σ = {fit.sigma[index]:.2f}", fontsize=7)
    for panel, (name, kernels) in zip(panels[:, index], rows.items(), strict=True):
        panel.imshow(kernels[..., 0, index], cmap="gray", vmin=-limit, vmax=limit)
        panel.set(xticks=[], yticks=[], ylabel=name if index == 0 else "")
figure.savefig("fit_filters.png", dpi=110)
print("drawn in fit_filters.png")
