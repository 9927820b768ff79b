"""`LayerwiseSGD`, gradient descent with a learning rate for each part of a network."""

import numbers

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_njet")
class LayerwiseSGD(keras.optimizers.SGD):
    """Stochastic gradient descent whose learning rate is multiplied in some layers.

    DeepLabv2 is fine-tuned so: its head learns ten times as fast as the backbone (section IV-B of the paper, experiment
    2(B)). Keras' own optimizers have one rate for all variables. In gradient descent, multiplying the rate is the same
    as multiplying the gradients, which is what this optimizer does, before it clips them. Weight decay keeps its rate.

    Args:
        learning_rate: Number or `keras.optimizers.schedules.LearningRateSchedule`. Defaults to 0.01.
        multipliers: Dictionary from a part of a variable's path, such as the name of a layer, to the factor of its
            learning rate. The first part that is found in a path counts. Defaults to none.
        name: Name of the optimizer. Defaults to "layerwise_sgd".
        **kwargs: Arguments of `keras.optimizers.SGD`.

    Raises:
        ValueError: If a multiplier is negative, or matches no variable.

    Example:

    >>> rate = keras.optimizers.schedules.PolynomialDecay(2.5e-4, decay_steps=20_000, power=0.9)
    >>> optimizer = keras_njet.LayerwiseSGD(rate, multipliers={"head": 10.0}, momentum=0.9)
    """

    def __init__(self, learning_rate=0.01, multipliers=None, name="layerwise_sgd", **kwargs):
        super().__init__(learning_rate, name=name, **kwargs)
        self.multipliers = dict(multipliers or {})
        if not all(isinstance(factor, numbers.Real) and factor >= 0 for factor in self.multipliers.values()):
            raise ValueError(
                f"Multipliers must be numbers and must not be negative. Received: multipliers={multipliers}"
            )

    def build(self, variables):
        super().build(variables)
        for part in self.multipliers:
            if not any(part in variable.path for variable in variables):
                paths = [variable.path for variable in variables]
                raise ValueError(f"Expected a part of one of the paths {paths}. Received: multipliers={part!r}")

    def multiplier(self, path: str) -> float:
        """The factor of the learning rate of the variable with a path."""
        return next((factor for part, factor in self.multipliers.items() if part in path), 1.0)

    def apply(self, grads, trainable_variables=None):
        """Updates variables as `keras.optimizers.SGD` does, after multiplying their gradients."""
        if not self.built:
            self.build(trainable_variables)
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        factors = [self.multiplier(variable.path) for variable in variables]
        scaled = [
            grad if grad is None or factor == 1.0 else ops.multiply(grad, factor)
            for grad, factor in zip(grads, factors, strict=True)
        ]
        return super().apply(scaled, trainable_variables)

    def get_config(self):
        return {**super().get_config(), "multipliers": self.multipliers}
