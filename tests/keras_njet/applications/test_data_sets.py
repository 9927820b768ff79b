"""Guards `preprocess_input` and `decode_predictions`: their numbers against real images, and their errors."""

import keras
import numpy as np
import pytest

from applications.data_sets import images
from keras_njet.applications import all_cnn, nin, resnet
from keras_njet.applications._data_sets import STATISTICS
from tests.helpers import DATA, needs_mnist


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
@needs_mnist
def test_standardised_images_have_mean_0_and_deviation_1(dataset):
    (x, _), _ = images.load_pixels(dataset, DATA)
    x = nin.preprocess_input(x, dataset=dataset)
    assert abs(x.mean()) < 0.01
    assert abs(x.std() - 1) < 0.01


@pytest.mark.parametrize("dataset", STATISTICS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_each_channel_has_its_own_statistics(dataset, data_format):
    mean, deviation = STATISTICS[dataset]
    image = 255 * np.stack([np.array(mean), np.array(mean) + np.array(deviation)])
    shape = (2, 1, 1, -1) if data_format == "channels_last" else (2, -1, 1, 1)
    x = image.reshape(shape).astype("float32")
    for given in (x, keras.ops.convert_to_tensor(x)):
        ours = keras.ops.convert_to_numpy(nin.preprocess_input(given, data_format, dataset))
        np.testing.assert_allclose(ours.reshape(2, -1), [[0.0] * len(mean), [1.0] * len(mean)], atol=1e-4)


def test_the_families_share_them():
    assert nin.preprocess_input is all_cnn.preprocess_input is resnet.preprocess_input
    assert nin.decode_predictions is all_cnn.decode_predictions is resnet.decode_predictions


def test_predictions_are_decoded_best_first():
    scores = np.array([[0.1, 0.0, 0.0, 0.6, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0]])
    assert nin.decode_predictions(scores, top=2) == [[(3, "cat", 0.6), (5, "dog", 0.3)]]
    assert nin.decode_predictions(scores, top=1, dataset="fashion_mnist") == [[(3, "Dress", 0.6)]]


def test_bad_input_is_named_in_the_error():
    with pytest.raises(ValueError, match="Received: dataset='imagenet'"):
        nin.preprocess_input(np.zeros((1, 8, 8, 3)), dataset="imagenet")
    with pytest.raises(ValueError, match=r"Received: x.shape=\(1, 8, 8, 1\)"):
        nin.preprocess_input(np.zeros((1, 8, 8, 1)))
    with pytest.raises(ValueError, match="Received: data_format='NCHW'"):
        nin.preprocess_input(np.zeros((1, 3, 8, 8)), data_format="NCHW")
    with pytest.raises(ValueError, match=r"Received: shape=\(1, 9\)"):
        nin.decode_predictions(np.zeros((1, 9)))
    with pytest.raises(ValueError, match="Received: dataset='cifar100'"):
        nin.decode_predictions(np.zeros((1, 100)), dataset="cifar100")
