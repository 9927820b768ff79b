"""Guards that scales which leave the useful range are told of, once and by name."""

import keras
import numpy as np
import pytest

import keras_njet

X, Y = np.zeros((2, 12, 12, 1), "float32"), np.zeros((2, 12, 12, 2), "float32")


def make_model(**options):
    layers = [keras_njet.NJetConv2D(2, name=name, **options) for name in ("near", "far")]
    model = keras.Sequential([keras.Input((12, 12, 1)), *layers])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("sigma", "text"),
    [(6.0, r"'far' \(σ = 6\).*`max_sigma`"), (0.4, r"'far' \(σ = 0.4\).*0.6 for 'sampled'")],
)
def test_a_scale_out_of_its_range_is_told_of_once(sigma, text):
    model = make_model()
    model.fit(X, Y, verbose=0)
    far = model.get_layer("far")
    far.log2_sigma.assign(np.log2(sigma))
    with pytest.warns(UserWarning, match=text) as told:
        model.fit(X, Y, verbose=0)
    (message,) = [str(one.message) for one in told if one.category is UserWarning]
    assert "near" not in message
    model.fit(X, Y, epochs=2, verbose=0)  # another warning would be an error


def test_what_the_last_epoch_did_is_told_of_when_fit_ends():
    model = make_model()
    grow = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: model.get_layer("far").log2_sigma.assign(np.log2(6.0))
    )
    with pytest.warns(UserWarning, match="'far' .σ = 6.*`max_sigma`"):
        model.fit(X, Y, callbacks=[grow], verbose=0)
    model.fit(X, Y, verbose=0)  # another warning would be an error


@pytest.mark.parametrize("sigma", [0.4, 6.0])
def test_scales_that_are_not_trained_may_be_anything(sigma):
    model = make_model(learn_sigma=False)
    model.fit(X, Y, verbose=0)
    model.get_layer("far").log2_sigma.assign(np.log2(sigma))  # beyond its start, which counts as chosen
    model.fit(X, Y, epochs=2, verbose=0)
    model.evaluate(X, Y, verbose=0)


def test_scales_that_were_given_before_training_count_as_chosen():
    """As `convert` gives them: filters of one layer, of which some are small."""
    layer = keras_njet.NJetConv2D(2, sigma_sharing="filter", sigma_learning_rate=1e-6)
    model = keras.Sequential([keras.Input((12, 12, 1)), layer])
    layer.sigma = [0.3, 2.0]
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=2, verbose=0)  # a warning would be an error
    layer.sigma = [0.2, 2.0]
    with pytest.warns(UserWarning, match=r"σ = 0.2 to 2"):
        model.fit(X, Y, verbose=0)


def test_integrated_filters_may_be_smaller():
    integrated, sampled = make_model(discretization="integrated"), make_model()
    for model in (integrated, sampled):
        model.fit(X, Y, verbose=0)
        model.get_layer("far").log2_sigma.assign(np.log2(0.55))
    integrated.fit(X, Y, epochs=2, verbose=0)
    assert integrated.get_layer("far").sigma_numbers() == pytest.approx(0.55, rel=1e-3)
    with pytest.warns(UserWarning, match=r"'far' \(σ = 0.55\)"):
        sampled.fit(X, Y, verbose=0)


def test_a_scale_that_is_not_a_number_is_told_of_by_the_name_of_its_layer():
    model = make_model(implementation="matrix")
    model.fit(X, Y, verbose=0)
    model.get_layer("far").log2_sigma.assign(np.nan)
    with pytest.warns(UserWarning, match=r"σ is NaN in '(far|near)'.*`keras.callbacks.TerminateOnNaN`") as told:
        model.fit(X, Y, verbose=0)
    texts = [str(one.message) for one in told if "σ is NaN" in str(one.message)]
    assert ["'far'" in text for text in texts] == [True, False]  # which the training spreads


def test_a_model_with_a_training_of_its_own_needs_no_optimizer():
    class Own(keras.Sequential):
        def fit(self, x):
            return self(x, training=True)

    model = Own([keras.Input((12, 12, 1)), keras_njet.NJetConv2D(2)])
    assert model.fit(X).shape == (2, 12, 12, 2)
