"""Guards the layers against combinations of arguments that no other test has: all of them at once, drawn at random.

100 examples, 33 on JAX; the environment variable KERAS_NJET_EXAMPLES asks for more. On JAX each layer is compiled as a
whole, with its activation, which takes less time than compiling its convolution, bias and activation one by one.
"""

import functools
import math
import os

import keras
import numpy as np
import scipy.ndimage
import scipy.signal
import scipy.special
import scipy.stats
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import keras_njet
from tests.helpers import examples, orders_by_hand, to_numpy

EXAMPLES = int(os.environ.get("KERAS_NJET_EXAMPLES", examples(100)))
SIZES = {1: [(1,), (9,), (16,)], 2: [(1, 5), (7, 9), (12, 8)], 3: [(4, 5, 3)]}
EXTENTS, CHANNELS = [1.0, 2.0, 3.3], [2, 4]
TOLERANCES = {"float32": 2e-5, "mixed_bfloat16": 0.03, "mixed_float16": 0.005}
if keras.backend.backend() != "jax":  # where it has to be enabled for the whole process
    TOLERANCES["float64"] = 1e-6


@st.composite
def cases(draw):
    """A layer's class and arguments, and the size of its input."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    depthwise = draw(st.booleans())
    isotropic = draw(st.booleans())
    sigma = st.floats(0.3, 4.0)
    arguments = {
        "order": draw(st.integers(0, 4 if rank < 3 else 2)),
        "sigma": draw(sigma if isotropic else st.tuples(*[sigma] * rank)),
        "extent": draw(st.sampled_from(EXTENTS)),
        "isotropic": isotropic,
        "discretization": draw(st.sampled_from(["sampled", "sampled", "integrated"])),
        "padding": draw(st.sampled_from(["same", "same", "valid", 0, 1])),
        "strides": draw(st.sampled_from([1, 1, 2])),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
        "implementation": draw(st.sampled_from(["auto", "matrix", "dense"])),
        "activation": draw(st.sampled_from([None, "relu"])),
        "sigma_learning_rate": draw(st.sampled_from([1.0, 0.25])),
        "dtype": draw(st.sampled_from(["float32", "float32", *TOLERANCES])),
    }
    arguments["sigma_sharing"] = draw(st.sampled_from(["layer", "layer", "input", 2]))
    if depthwise:
        arguments["depth_multiplier"] = draw(st.sampled_from([1, 2]))
    else:
        arguments["filters"] = draw(st.sampled_from([2, 4]))
        arguments["groups"] = draw(st.sampled_from([1, 2])) if arguments["sigma_sharing"] == "layer" else 1
    return rank, depthwise, arguments, draw(st.sampled_from(SIZES[rank])), draw(st.sampled_from(CHANNELS))


@functools.lru_cache(256)
def along_axis(sigma, order, extent, discretization):
    """The scale-normalised derivatives of a Gaussian along an axis, up to an order, by SciPy; as a layer correlates."""
    radius = max(1, math.ceil(extent * sigma - 1e-4))
    if discretization == "sampled":
        delta = np.zeros(2 * radius + 1)
        delta[radius] = 1.0
        derivatives = [
            scipy.ndimage.gaussian_filter1d(delta, sigma, order=n, radius=radius, mode="constant")
            for n in range(order + 1)
        ]
        return [(-sigma) ** n * derivative[::-1] for n, derivative in enumerate(derivatives)]
    edges = np.arange(-radius - 0.5, radius + 1.0) / sigma
    density = scipy.stats.norm.pdf(edges)
    integrals = [scipy.stats.norm.cdf(edges)]
    integrals += [(-1) ** n * scipy.special.hermitenorm(n)(edges) * density for n in range(order)]
    return np.diff(integrals) / (1 - 2 * scipy.stats.norm.sf(edges[-1]))


def is_doubtful(radius):
    """Whether kσ is so little above a whole number that it depends on the rounding of σ which filter is right."""
    return 1e-6 < radius % 1.0 < 2e-4


def filter_of(alpha, sigma, rank, arguments):
    """One filter of one channel, of its coefficients."""
    order = arguments["order"]
    along = [along_axis(one, order, arguments["extent"], arguments["discretization"]) for one in sigma]
    return sum(
        coefficient * functools.reduce(np.multiply.outer, [along[axis][n] for axis, n in enumerate(orders)])
        for coefficient, orders in zip(alpha, orders_by_hand(order, rank), strict=True)
    )


def kept(size, radius, arguments):
    """The positions along an axis that the output has."""
    padding, stride = arguments["padding"], arguments["strides"]
    if padding == "same":
        count = -(-size // stride)
        start = -(((count - 1) * stride + 1 - size) // 2)
        return start + stride * np.arange(count)
    margin = radius if padding == "valid" else padding
    return np.arange(margin, size - margin, stride)


def expected_of(x, layer, depthwise, arguments, sigmas):
    """The output by SciPy: each filter is composed, and correlated with each channel."""
    batch, *sizes, channels = x.shape
    rank, alpha = len(sizes), to_numpy(layer.coefficients).astype("float64")
    filters, groups = alpha.shape[-1], channels if depthwise else arguments["groups"]
    radii = [max(1, math.ceil(arguments["extent"] * sigmas[..., axis].max() - 1e-4)) for axis in range(rank)]
    positions = [kept(size, radius, arguments) for size, radius in zip(sizes, radii, strict=True)]
    out = np.zeros((batch, *map(len, positions), filters))
    for filter_, place in np.ndindex(filters, channels // groups):
        channel = filter_ * groups // filters * (channels // groups) + place
        owner = channel if depthwise or arguments["sigma_sharing"] == "input" else filter_
        kernel = filter_of(alpha[:, place, filter_], sigmas[owner], rank, arguments)
        for image in range(batch):
            full = scipy.signal.correlate(x[image, ..., channel], kernel)
            middle = [np.array(kept_) + size // 2 for kept_, size in zip(positions, kernel.shape, strict=True)]
            out[image, ..., filter_] += full[np.ix_(*middle)]
    return np.maximum(out, 0.0) if arguments["activation"] == "relu" else out


def own_sigmas(layer, depthwise, arguments, channels, rank, seed):
    """Gives scales of their own different values; returns σ for each channel or filter, and axis."""
    count = channels if depthwise or arguments["sigma_sharing"] == "input" else arguments["filters"]
    shape = tuple(layer.sigma.shape)
    if arguments["sigma_sharing"] != "layer":
        old = layer.sigma_numbers().reshape(shape)
        layer.sigma = np.clip(old * np.random.default_rng(seed).uniform(0.7, 1.4, shape), 0.3, 4.5)
    found = layer.sigma_numbers().reshape(shape)
    if arguments["isotropic"]:
        found = found[..., None]
    groups = 1 if arguments["sigma_sharing"] == "layer" else shape[0]
    return np.repeat(np.broadcast_to(found, (groups, rank)), count // groups, axis=0)


def call(layer, inputs):
    """The output of a layer."""
    if keras.backend.backend() != "jax":
        return layer(inputs)
    import jax

    return jax.jit(functools.partial(layer, training=False))(inputs)


FOUND = {  # by 5,000 examples: on TensorFlow a map that is one pixel wide was taken for a bias
    "order": 1,
    "sigma": (0.5, 2.0),
    "extent": 2.0,
    "isotropic": False,
    "discretization": "sampled",
    "padding": "valid",
    "strides": 1,
    "data_format": "channels_last",
    "implementation": "matrix",
    "activation": None,
    "sigma_learning_rate": 1.0,
    "dtype": "float32",
    "sigma_sharing": 2,
    "filters": 2,
    "groups": 1,
}


@given(cases(), st.integers(0, 1000))
@example((2, False, FOUND, (7, 9), 2), 0)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_output_is_that_of_scipy(case, seed):
    rank, depthwise, arguments, sizes, channels = case
    kind = f"NJet{'Depthwise' if depthwise else ''}Conv{rank}D"
    layer = getattr(keras_njet, kind)(**arguments)
    x = np.random.default_rng(seed).normal(size=(1, *sizes, channels)).astype("float32")
    x = x.astype(keras.dtype_policies.get(arguments["dtype"]).compute_dtype.replace("bfloat16", "float32"))
    first = arguments["data_format"] == "channels_first"
    inputs = np.moveaxis(x, -1, 1) if first else x
    layer.build(inputs.shape)
    sigmas = own_sigmas(layer, depthwise, arguments, channels, rank, seed)
    assume(not any(is_doubtful(arguments["extent"] * sigma) for sigma in sigmas.flat))
    expected = expected_of(x.astype("float64"), layer, depthwise, arguments, sigmas)
    assume(0 not in expected.shape)
    ours = to_numpy(keras.ops.cast(call(layer, inputs), "float64" if arguments["dtype"] == "float64" else "float32"))
    ours = np.moveaxis(ours, 1, -1) if first else ours
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=TOLERANCES[arguments["dtype"]] * max(1, np.abs(expected).max()))
