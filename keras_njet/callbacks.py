"""`ResolutionCallback`, which logs σ and sizes during `fit`, and can update sizes within an epoch."""

import collections

import keras

from keras_njet import _arguments
from keras_njet._resolution.following import update_sizes
from keras_njet.inspection.summary import layers_by_path
from keras_njet.layers._njet_layer import NJetLayer


class ResolutionCallback(keras.callbacks.Callback):
    """Logs the learned scales and filter sizes, and can update the sizes of feature maps more often.

    `fit` brings the sizes that follow σ (section IV of the paper) up to date at the start of every epoch without this
    callback. The callback adds to the logs of each epoch, and so to `History` and to callbacks listed after it:

    - `<layer>/sigma`, the largest if filters have their own; `<layer>/sigma_height` and so on if axes have their own;
      `<layer>/sigma_0` and so on for `keras_njet.NJetASPP`;
    - `<layer>/kernel_size`, the largest size of a filter in pixels (not for `keras_njet.NJetASPP`);
    - `<layer>/height` and `<layer>/width` of the feature map in pixels, where they are fixed; of a signal
      `<layer>/length`, of a volume also `<layer>/depth`.

    `<layer>` is the layer's name; if several layers have the same name, the names of the models around it come first.

    Args:
        update_freq: "epoch", or an integer n ≥ 1: also update the sizes after every n batches. Each update that changes
            a size has the training function compiled again. Defaults to "epoch".
        log: Whether to add to the logs. Defaults to True.

    Raises:
        ValueError: If `update_freq` is neither "epoch" nor a positive integer.

    Example:

    >>> model = keras.Sequential([keras_njet.NJetConv2D(4, name="conv"), keras.layers.GlobalMaxPooling2D()])
    >>> model.compile("sgd", "mse")
    >>> x, y = numpy.zeros((8, 16, 16, 1)), numpy.zeros((8, 4))
    >>> history = model.fit(x, y, callbacks=[keras_njet.ResolutionCallback()], verbose=0)
    >>> history.history["conv/sigma"]
    [1.0]
    """

    def __init__(self, update_freq="epoch", log: bool = True):
        super().__init__()
        if update_freq != "epoch":
            update_freq = _arguments.integer("update_freq", update_freq, least=1)
        self.update_freq = update_freq
        self.log = log
        self._updated_after = 0  # batches of this epoch

    def on_epoch_begin(self, epoch, logs=None):
        self._updated_after = 0

    def on_train_batch_end(self, batch, logs=None):
        # `batch` is the last one of those that were executed together.
        if self.update_freq != "epoch" and batch + 1 - self._updated_after >= self.update_freq:
            self._updated_after = batch + 1
            update_sizes(self.model)

    def on_epoch_end(self, epoch, logs=None):
        if not self.log or logs is None:
            return
        layers = [(path, layer) for path, layer in layers_by_path(self.model) if isinstance(layer, NJetLayer)]
        count = collections.Counter(layer.name for _, layer in layers)
        for path, layer in layers:
            shown = layer.name if count[layer.name] == 1 else path
            logs |= {f"{shown}/{name}": value for name, value in layer.resolution().items()}
