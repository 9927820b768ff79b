"""Keeps the sizes of a model's feature maps in step with σ, though compiled functions have fixed shapes.

A size that depends on σ is a Python integer when a function is compiled. `follow` hands it out and notes it in the
`_Follower` of the model that is being called. The follower compares its notes with σ whenever Keras passes through
Python, that is at the start of every epoch, evaluation and prediction, and if a size has changed, has Keras make the
model's compiled functions anew. So a function is compiled at most once an epoch, and only when some size changed by a
whole pixel.
"""

import functools
import warnings

import keras

from keras_njet._backend import calling_model, in_symbolic_scope, inner_layers, is_traced, is_training

_STEPS = ("train", "test", "predict")


def update_sizes(model: keras.Model) -> bool:
    """Brings every size of a model that depends on σ up to date, and drops compiled functions with old sizes.

    `fit`, `evaluate` and `predict` do this by themselves. Call it in a training loop of your own, or in a callback to
    update more often than once an epoch. In a loop of your own on JAX, assign the trained values to the model's
    variables first: that is where σ is read.

    Args:
        model: A `keras.Model`. Models inside it are brought up to date, too.

    Returns:
        True if a size has changed. A function of your own that calls the model must then be compiled anew.

    Example:

    >>> convolution = keras_njet.NJetConv2D(4, subsample_rate=4.0)
    >>> model = keras.Sequential([keras.Input((16, 16, 1)), convolution])
    >>> model.predict(numpy.zeros((1, 16, 16, 1)), verbose=0).shape
    (1, 13, 13, 4)
    >>> convolution.sigma = 4.0
    >>> update_sizes(model)
    True
    >>> model.predict(numpy.zeros((1, 16, 16, 1)), verbose=0).shape
    (1, 8, 8, 4)
    """
    models = [model] + [layer for layer in inner_layers(model) if isinstance(layer, keras.Model)]
    followers = [inner._njet_follower for inner in models if hasattr(inner, "_njet_follower")]
    changed = any([follower.update() for follower in followers])
    if changed:
        _make_functions(model)
    return changed


def follow(layer: keras.Layer, inputs, scale, size_of, *args, slack: int = 0) -> int:
    """Computes a size that depends on σ, and has the calling model follow it.

    Args:
        layer: The layer that is being called.
        inputs: The tensor it is called on.
        scale: `ScaleVariable` that decides the size.
        size_of: Function of `keras_njet.convolution.sizes`.
        *args: Further arguments of `size_of`, after σ.
        slack: Integer, by how much the size may shrink before it is followed, so that nothing is compiled anew while it
            moves to and fro. For sizes that only matter to speed.

    Returns:
        `size_of(σ, *args)`, an integer; or what it was when the model was compiled, up to `slack` more.
    """
    if in_symbolic_scope():
        return size_of(scale.current(), *args)
    model, method = calling_model()
    if not slack and method is None and scale.trainable and is_traced(inputs) and is_training() is not False:
        _warn_not_followed(layer)
    if model is None:
        return size_of(scale.current(), *args)
    if not hasattr(model, "_njet_follower"):
        model._njet_follower = _Follower(model)
    return model._njet_follower.size(scale, size_of, *args, slack=slack)


def is_up_to_date(inputs) -> bool:
    """Whether the sizes of the present call are those of the live σ, and σ can't change before they are followed.

    Not while a model is trained, nor in a function of the user's own that is compiled once and called later with
    another σ.
    """
    _, method = calling_model()
    return not is_traced(inputs) if method is None else method not in ("fit", "train_on_batch")


class _Follower:
    """Knows the sizes with which the functions of one model were compiled."""

    def __init__(self, model):
        self.model = model
        self.sizes = {}  # (id of scale, function, arguments) -> (scale, size, slack)
        self.stale = False  # a size was computed that differs from the noted one
        self.running = False  # a compiled function is being run
        self.due = False  # the next step must update the sizes first
        for method in ("reset_metrics", "make_predict_function"):
            setattr(model, method, self._updating(getattr(model, method)))

    def size(self, scale, size_of, *args, slack=0):
        """The size to compute with: during a step the noted one, so that all shapes of an epoch agree."""
        key = (id(scale), size_of, args)
        noted = self.sizes[key][1] if key in self.sizes else None
        if self.running and noted is not None:
            return noted
        size = size_of(scale.current(), *args)
        if noted is not None:
            if _has_changed(noted, size, slack):
                self.stale = True
            else:
                size = noted
        self.sizes[key] = (scale, size, slack)
        self.due = False
        self._guard_functions()
        return size

    def update(self):
        """Has the functions made anew if a size has changed; returns whether one has."""
        self.due = False
        changed = self.stale or any(
            _has_changed(size, size_of(scale.current(), *args), slack)
            for (_, size_of, args), (scale, size, slack) in self.sizes.items()
        )
        if changed:
            self.stale = False
            self.sizes.clear()
            for step in _STEPS:
                # JAX takes a new function for an old one that still lives, for both are made of the same method.
                if isinstance(_compiled(self.model, step), _Guard):
                    _compiled(self.model, step).function = None
            _make_functions(self.model)
        return changed

    def _updating(self, method):
        @functools.wraps(method)
        def updating(*args, **kwargs):
            self.update()
            # Callbacks that run before the first step may change σ once more.
            self.due = True
            return method(*args, **kwargs)

        return updating

    def _guard_functions(self):
        for step in _STEPS:
            function = _compiled(self.model, step)
            if function is not None and not isinstance(function, _Guard):
                setattr(self.model, f"{step}_function", _Guard(self, step, function))


class _Guard:
    """A compiled function that updates sizes before the first step of an epoch."""

    def __init__(self, follower, step, function):
        self.follower = follower
        self.step = step
        self.function = function

    def __call__(self, *args):
        if self.follower.due and self.follower.update():
            return _compiled(self.follower.model, self.step)(*args)
        self.follower.running = True
        try:
            return self.function(*args)
        finally:
            self.follower.running = False


def _has_changed(noted, size, slack):
    return not noted - slack <= size <= noted


def _compiled(model, step):
    return getattr(model, f"{step}_function", None)


def _make_functions(model):
    for step in _STEPS:
        if _compiled(model, step) is not None:
            getattr(model, f"make_{step}_function")(force=True)


def _warn_not_followed(layer):
    warnings.warn(
        f"The size of the feature map of layer '{layer.name}' depends on σ, but is being compiled into a function of "
        "your own, where it will not follow σ by itself. While σ is trained, call `keras_njet.update_sizes(model)` now "
        "and then (on JAX after assigning the trained values to the model's variables), and compile your function anew "
        "when it returns True. For inference, pass `training=False` or freeze "
        "the layer with `trainable = False`.",
        stacklevel=2,
    )
