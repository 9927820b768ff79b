"""Guards random batches: every example once an epoch, and the same ones whenever an epoch is begun again."""

import numpy as np
import pytest

from applications.data_sets.batches import random_batches


def make(chosen, rng):
    return chosen, rng.random()


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 5, [2])])
def test_every_example_is_in_one_batch(count, batch_size, sizes):
    batches = random_batches(count, batch_size, 0, make)
    chosen = [batches[index][0] for index in range(len(batches))]
    assert [len(part) for part in chosen] == sizes
    assert sorted(np.concatenate(chosen)) == list(range(count))


def test_order_and_random_numbers_depend_on_seed_epoch_and_batch_alone():
    seen = {}
    for seed in (0, 1):
        for epoch in (0, 1, 0):
            batches = random_batches(50, 25, seed, make)
            batches.epoch = epoch
            for index in (1, 0):
                chosen, number = batches[index]
                earlier = seen.setdefault((seed, epoch, index), (tuple(chosen), number))
                assert earlier == (tuple(chosen), number)
    assert len(seen) == len(set(seen.values())) == len({number for _, number in seen.values()}) == 8
