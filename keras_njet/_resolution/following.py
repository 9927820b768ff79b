"""Keeps the sizes of a model in step with σ, though compiled functions have fixed shapes.

A size that depends on σ is a whole number when a function is compiled. A layer asks its `Run`, the present call, for
it; the run notes it in the `_Follower` of the model that is being called. At the start of every epoch, evaluation and
prediction, the follower compares its notes with σ. If a size has changed, it has Keras make the model's functions
again. So sizes have a function compiled at most once an epoch, and only when one has changed by a whole pixel.

What a follower does depends on where the model stands:

| state   | how it is entered                           | a layer that asks for a size gets  | how it is left         |
|---------|---------------------------------------------|------------------------------------|------------------------|
| idle    | a step has ended, or none has begun         | that of the present σ, now noted   | a step or epoch begins |
| due     | an epoch, evaluation or prediction begins;  | that of the present σ, now noted   | its first step begins; |
|         | the notes are compared with σ               |                                    | see below              |
| running | a step begins                               | the first noted since the          | the step ends          |
|         |                                             | functions were made                |                        |

When the first step of an epoch, evaluation or prediction begins, the notes are compared with σ once more: callbacks
that run at its start may have changed it. Each thread is due for itself, and for each kind of step: an epoch stays due
while a callback, or another thread, predicts with the model.

How far the evaluations of convolutions reach is noted apart (`reaches.Reaches`), and compared before every step of a
training: where a filter has outgrown its evaluation, the function is made again, with the sizes that it had.

The first step of a function is not seen as a step: only while it runs is the function compiled, and the follower made,
that watches its later steps (`_Step`). The sizes which it notes are those of the σ it began with all the same.

Several threads may run one model. Each has steps of its own, which keep the sizes that they began with; what is noted
is the same for all, and looked at by one thread at a time.
"""

import collections
import functools
import threading
import warnings

import keras

from keras_njet import _backend
from keras_njet._convolution.sizes import first_that_reaches
from keras_njet._resolution.limits import Limits
from keras_njet._resolution.reaches import Options, Reaches

_TRAINING = ("fit", "train_on_batch")
_STEP_OF = {
    **dict.fromkeys(_TRAINING, "train"),
    **dict.fromkeys(("evaluate", "test_on_batch"), "test"),
    **dict.fromkeys(("predict", "predict_on_batch"), "predict"),
}
_UNKNOWN_BATCH_SIZE = 32  # where a compiled function takes batches of any size
_MAKING_FOLLOWERS = threading.Lock()


def update_sizes(model: keras.Model) -> bool:
    """Updates every size of a model that follows σ (section IV of the paper), and drops functions with old sizes.

    `fit`, `evaluate` and `predict` do this by themselves. Call it in a training loop of your own, or in a callback to
    update more often than once an epoch. In a loop of your own on JAX, assign the trained values to the model's
    variables first: that is where σ is read.

    Args:
        model: A `keras.Model`. Models inside it are brought up to date, too.

    Returns:
        True if a size has changed. A function of your own that calls the model must then be compiled again.

    Raises:
        ValueError: If `model` is not a `keras.Model`.

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
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a `keras.Model`. Received: model={model!r}")
    models = [model] + [layer for layer in _backend.inner_layers(model) if isinstance(layer, keras.Model)]
    followers = [inner._njet_follower for inner in models if hasattr(inner, "_njet_follower")]
    changed = any([follower.update() for follower in followers])
    if changed:
        _backend.make_functions(model)
    return changed


class Run:
    """The present call of a layer: the model that is being run, looked up once, and the sizes it runs with.

    Args:
        inputs: The tensor that the layer is called on.
    """

    def __init__(self, inputs):
        self.is_traced = _backend.is_traced(inputs)
        self.batch_size = inputs.shape[0] if isinstance(inputs.shape[0], int) else _UNKNOWN_BATCH_SIZE
        self.is_symbolic = _backend.in_symbolic_scope()
        self.caller = _backend.calling_model()
        self.model, self.method, _ = self.caller
        if self.is_traced and self.method is not None:
            self._follower().note_graph(self.method)

    def size(self, layer: keras.Layer, scale, axis: int | None, size_of, *args) -> int:
        """Computes a size that depends on σ, and has the model that is being run follow it.

        Args:
            layer: The layer that has the scale.
            scale: `ScaleVariable` that decides the size.
            axis: Index of the axis of the feature map whose σ counts, or None for the largest σ of all.
            size_of: Function of `keras_njet._convolution.sizes` that returns a whole number.
            *args: Further arguments of `size_of`, after σ.

        Returns:
            `size_of(σ, *args)`; or what it was when the model was compiled.
        """
        if self._is_in_a_function_of_the_users() and scale.trainable:
            _warn_not_followed(layer)
        if self.model is None or self.is_symbolic:
            return size_of(scale.largest(axis), *args)
        return self._follower().size(self.caller, scale, axis, size_of, *args)

    def reach(self, scale, extent: float, units: tuple[float, ...], radii: tuple[int, ...], costs: tuple) -> int:
        """Chooses a reach for the filters of a layer.

        Args:
            scale: `ScaleVariable` of the filters, of which the largest counts.
            extent: Number k > 0, half-width of the filters in units of σ.
            units: Numbers u > 0 in pixels, by which filter sizes are rounded: one, or one for each axis.
            radii: The reaches between which to choose, in pixels, increasing. The last one reaches everywhere.
            costs: The seconds that an image takes with each of them.

        Returns:
            The index of the one to evaluate with; while a model is trained, of one that leaves head-room.
        """
        if not self._is_traced_with(scale) or self.model is None or self.is_symbolic:
            return first_that_reaches(scale.largest(), extent, radii, units)
        of_steps = tuple(self.batch_size * cost for cost in costs)
        options = Options(extent, radii, of_steps, units, scale.trainable and self.may_train)
        return self._follower().reach(scale, options)

    def watch(self, layer, map_size, factor):
        """Keeps the scales of a layer within their bounds and free of weight decay while a model is trained.

        Weight decay would pull σ towards 1, which no network asks for; `sigma_regularizer` is there for those who do.

        Args:
            layer: An N-Jet layer.
            map_size: Size of its input along each axis, in pixels; None or a tensor where it is not known.
            factor: Number > 0, by which σ is multiplied in this call.
        """
        follower = getattr(self.model, "_njet_follower", None)
        for scale in layer.scales:
            if scale.bound is not None and self.may_train:
                scale.bound.see(map_size, factor, scale.per_axis, follower and follower.reaches.steps)
        if not self.is_training_step:
            return
        for scale in layer.scales:
            _backend.exclude_from_weight_decay(self.model, scale)
        limits = self._follower().limits
        limits.add(layer)
        _backend.call_after_fit(self.model, limits.tell)

    def may_outgrow(self, scale) -> bool:
        """Whether filters may outgrow their reach before it is compared with σ.

        So it is in a function of the user's own that is compiled once and called later with another σ, and where Keras
        takes several steps of training at once.
        """
        if not self._is_traced_with(scale) or self.method not in (None, *_TRAINING):
            return False
        return self.method is None or not _backend.trains_step_by_step(self.model)

    @property
    def may_train(self) -> bool:
        """Whether this is a training by Keras, or may be one in a loop of the user's own."""
        return self.phase == "training" if self.method is None else self.method in _TRAINING

    @property
    def is_training_step(self) -> bool:
        """Whether this is a step of a training by Keras."""
        return self.model is not None and not self.is_symbolic and self.method in _TRAINING

    @property
    def phase(self) -> str:
        """The phase of costs: "inference" where it is known that nothing is trained, else "training"."""
        return "inference" if _backend.is_training() is False else "training"

    def _is_traced_with(self, scale):
        return self.is_traced or _backend.is_traced(scale.value)  # JAX may differentiate what it does not compile

    def _follower(self):
        with _MAKING_FOLLOWERS:  # a model has one, however many threads run it for the first time
            if not hasattr(self.model, "_njet_follower"):
                self.model._njet_follower = _Follower(self.model)
        return self.model._njet_follower

    def _is_in_a_function_of_the_users(self):
        is_trained = _backend.is_training() is not False
        return self.method is None and self.is_traced and is_trained and not self.is_symbolic


class _OfThread:
    """Where a thread stands.

    Attributes:
        sizes: What the layers have been given in the step that it runs, by their keys; None if it runs none.
        due: The kinds of steps ("train", ...) before whose first step the notes must be compared with σ once more.
    """

    def __init__(self):
        self.sizes = None
        self.due = set()


def _one_thread_at_a_time(method):
    @functools.wraps(method)
    def locked(self, *args, **kwargs):
        with self.lock:
            return method(self, *args, **kwargs)

    return locked


class _Follower:
    """Knows the sizes with which the functions of one model were made; the states are those of the table above."""

    def __init__(self, model):
        self.model = model
        self.noted = {}  # (id of scale, axis, function, arguments) -> (scale, sizes in their order)
        self.reaches = Reaches()
        self.limits = Limits()
        self.lock = threading.RLock()
        self.threads = collections.defaultdict(_OfThread)  # by their identifiers
        self.graphs = {}  # on TensorFlow: step -> the graphs of its function, to be freed with it
        for method in ("reset_metrics", "make_predict_function"):
            setattr(model, method, self._begins_with_an_update(getattr(model, method)))

    @_one_thread_at_a_time
    def size(self, caller, scale, axis, size_of, *args):
        """The size that a layer gets.

        Args:
            caller: Who runs the layer, as of `_backend.calling_model`.
            scale, axis, size_of, *args: As in `Run.size`.
        """
        key = id(scale), axis, size_of, args
        _, noted = self.noted.setdefault(key, (scale, []))
        thread = self.threads[caller.thread]
        is_running = thread.sizes is not None
        given = thread.sizes if is_running else {}
        if key not in given:
            given[key] = noted[0] if is_running and noted else size_of(scale.largest(axis), *args)
        if given[key] not in noted:
            noted.append(given[key])
        thread.due.discard(_STEP_OF.get(caller.method))
        self._watch_steps()
        return given[key]

    @_one_thread_at_a_time
    def reach(self, scale, options):
        """The index of the reach that a layer gets."""
        self._watch_steps()
        return self.reaches.index(scale, options)

    @_one_thread_at_a_time
    def update(self, begins=False):
        """Remakes the functions if one was made with sizes or reaches that no longer fit σ; returns whether one was.

        Args:
            begins: Whether an epoch, evaluation or prediction begins.
        """
        if begins:
            self.limits.tell()
        changed = [
            begins and self.reaches.begin(),
            self.reaches.are_outgrown(),
            *(
                noted != size_of(scale.largest(axis), *args)
                for (_, axis, size_of, args), (scale, sizes) in self.noted.items()
                for noted in sizes
            ),
        ]
        if any(changed):
            self.noted.clear()
            self.reaches.chosen.clear()
            for step in _backend.functions(self.model):
                self._remake(step)
        return any(changed)

    @_one_thread_at_a_time
    def keep_in_reach(self, state, positions):
        """Remakes the training function if a filter has outgrown its reach; returns whether one has.

        Args:
            state: The first argument of the training function.
            positions: Where variables stand in it, by their ids.
        """
        for scale in self.reaches.scales:
            if id(scale) in positions:
                scale.remember(_backend.value_in_state(state, positions[id(scale)]))
        outgrown = self.reaches.are_outgrown(of_training=True)
        if outgrown:
            self._remake("train")
            self._watch_steps()
        return outgrown

    def note_graph(self, method):
        """Takes note of the graph that a function of the model is being traced in, on TensorFlow."""
        graph = _backend.graph_being_traced()
        if graph is not None:
            self.graphs.setdefault(_STEP_OF[method], set()).add(graph)

    def _remake(self, step):
        # JAX keeps what it has compiled as long as the old function lives, and reuses it for a new function made of the
        # same method. So nothing may hold a reference to the old one.
        function = _backend.functions(self.model)[step]
        if isinstance(function, _Step):
            function.function = None
        _backend.make_function(self.model, step)
        graphs = self.graphs.pop(step, set())
        thread = threading.get_ident()
        is_running = self.threads[thread].sizes is not None or _backend.graph_being_traced() is not None
        is_of_this_thread = isinstance(function, _Step) and function.threads == {thread}
        if is_of_this_thread and not is_running:
            for graph in graphs:
                _backend.free_graphs(graph)

    def _begins_with_an_update(self, method):
        @functools.wraps(method)
        def beginning(*args, **kwargs):
            if not kwargs.get("force"):  # with `force` a new function is asked for, and nothing begins
                self.update(begins=True)
                step = _STEP_OF.get(_backend.calling_model().method)
                self.threads[threading.get_ident()].due |= {step} if step else set(_STEP_OF.values())
            return method(*args, **kwargs)

        return beginning

    def _watch_steps(self):
        for step, function in _backend.functions(self.model).items():
            if not isinstance(function, _Step):
                _backend.set_function(self.model, step, _Step(self, step, function))


class _Step:
    """A compiled function of a model; tells the follower when a step begins and ends."""

    def __init__(self, follower, step, function):
        self.follower = follower
        self.step = step
        self.function = function
        self.threads = {threading.get_ident()}  # that have run it
        self.positions = None  # of variables in the state of a training, found when first asked for

    def __call__(self, *args):
        follower = self.follower
        with follower.lock:
            self.threads.add(threading.get_ident())
            thread = follower.threads[threading.get_ident()]
            is_remade = self.step in thread.due and follower.update()
            thread.due.discard(self.step)
            if not is_remade and self.step == "train":
                if self.positions is None:
                    self.positions = _backend.positions_in_state(follower.model)
                is_remade = follower.keep_in_reach(args[0], self.positions)
            function = self.function
        if is_remade or function is None:  # made again, by this thread or another one
            return _backend.functions(follower.model)[self.step](*args)
        before, thread.sizes = thread.sizes, {}
        follower.reaches.steps += 1
        try:
            return function(*args)
        finally:
            thread.sizes = before


def _warn_not_followed(layer):
    warnings.warn(
        f"The size of the feature map of layer '{layer.name}' depends on σ, but is being compiled into a "
        "function of your own, where it will not follow σ by itself. While σ is trained, call "
        "`keras_njet.update_sizes(model)` now and then (on JAX after assigning the trained values to the model's "
        "variables), and compile your function again when it returns True. For inference, pass `training=False` or "
        "freeze the layer with `trainable = False`.",
        stacklevel=2,
    )
