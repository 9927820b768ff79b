"""Batches in a random order, which is the same whenever an epoch is begun again."""

import numpy as np


def random_batches(count, batch_size, seed, make):
    """A `keras.utils.PyDataset` whose order and random numbers depend on the seed and on its `epoch` alone.

    `epoch` is 0 until it is set, which `applications._training.random_numbers_of_epochs` does while training.

    Args:
        count: Number of examples.
        batch_size: Examples a batch; the last one has what is left.
        seed: Integer.
        make: Function of the indices of the chosen examples and a NumPy generator that returns a batch.
    """
    import keras

    class Batches(keras.utils.PyDataset):
        epoch = 0

        def __len__(self):
            return -(-count // batch_size)

        def __getitem__(self, index):
            order = np.random.default_rng([seed, self.epoch]).permutation(count)
            chosen = order[index * batch_size : (index + 1) * batch_size]
            return make(chosen, np.random.default_rng([seed, self.epoch, 1 + index]))

    return Batches()
