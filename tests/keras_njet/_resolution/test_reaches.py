"""Guards how far compiled functions reach: always far enough, and chosen seldom."""

import dataclasses
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_njet._convolution.sizes import filter_radius
from keras_njet._resolution.reaches import COMPILING, FIRST_HEAD_ROOM, Options, Reaches

RADII = (*range(1, 13), 16, 32, 64, 1024)
LEARNED = Options(2.0, RADII, tuple(10.0 * radius for radius in RADII), is_trained=True)


class Scale:
    """What `Reaches` needs of a scale: a number that can be read."""

    def __init__(self, sigma):
        self.sigma = sigma

    def largest(self):
        return self.sigma


@given(st.floats(0.01, 600.0), st.booleans())
def test_a_reach_is_the_first_that_is_far_enough_with_its_head_room(sigma, is_trained):
    options = dataclasses.replace(LEARNED, is_trained=is_trained)
    index = Reaches().index(Scale(sigma), options)
    wanted = filter_radius(sigma * (FIRST_HEAD_ROOM if is_trained else 1.0), 2.0)
    assert RADII[index] >= wanted
    assert index == 0 or RADII[index - 1] < wanted


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=200), st.integers(1, 20))
def test_whatever_scales_do_filters_are_reached_and_choices_are_seldom(changes, steps):
    """Two layers, trained for some steps an epoch, with scales that go any way."""
    reaches, scales = Reaches(), (Scale(1.0), Scale(3.0))
    chosen = 0

    def run():
        return [RADII[reaches.index(scale, LEARNED)] for scale in scales]

    for step, change in enumerate(changes):
        if step % steps == 0 and step > 0 and reaches.begin():
            reaches.chosen.clear()
        reaches.are_outgrown()
        chosen += not reaches.chosen
        for scale, reach in zip(scales, run(), strict=True):
            assert filter_radius(scale.sigma, 2.0) <= reach
        scales[step % 2].sigma *= 2.0**change
    epochs = math.ceil(len(changes) / steps)
    assert chosen <= 10 * (math.log2(epochs) + 1)


def test_the_bound_of_choices_counts_with_the_logarithm_of_the_epochs():
    """A scale that does its worst: it always outgrows what was chosen, and is small again at each new start."""
    counts = {}
    for epochs in (1, 4, 16, 64, 256):
        reaches, scale, counts[epochs] = Reaches(), Scale(1.0), 0
        reaches.steps = 1e12  # compiling costs nothing beside them
        for epoch in range(epochs):
            if epoch > 0 and reaches.begin():
                reaches.chosen.clear()
            scale.sigma = 1.0 if reaches.head_room == FIRST_HEAD_ROOM else scale.sigma
            for _ in range(20):
                reaches.are_outgrown()
                counts[epochs] += not reaches.chosen
                index = reaches.index(scale, LEARNED)
                if index < len(RADII) - 1:
                    scale.sigma = (RADII[index] + 0.5) / 2.0
    assert counts[1] > 2  # the scale is able to outgrow
    for epochs, count in counts.items():
        assert count <= 10 * (math.log2(epochs) + 1)
    assert counts[256] - counts[64] == counts[64] - counts[16]


def test_a_shorter_reach_is_taken_where_it_saves_more_than_compiling_costs():
    reaches, scale = Reaches(), Scale(3.0)
    before = reaches.index(scale, LEARNED)
    scale.sigma = 1.0
    saved = LEARNED.costs[before] - LEARNED.costs[LEARNED.first(scale.sigma, FIRST_HEAD_ROOM)]
    reaches.steps = 0.99 * COMPILING / saved
    assert not reaches.begin()
    reaches.steps = 1.01 * COMPILING / saved
    assert not reaches.begin()  # the 3rd beginning
    assert reaches.begin()


def test_a_training_looks_at_its_own_reaches_only():
    reaches, scale = Reaches(), Scale(0.99)
    evaluated = dataclasses.replace(LEARNED, is_trained=False)
    assert [RADII[reaches.index(scale, options)] for options in (LEARNED, evaluated)] == [3, 2]
    scale.sigma = 1.2
    assert not reaches.are_outgrown(of_training=True)
    scale.sigma = 1.6
    assert reaches.are_outgrown(of_training=True)
    assert RADII[reaches.index(scale, LEARNED)] == 4
    assert RADII[reaches.index(scale, evaluated)] == 2  # as its function was compiled, which is not made again yet
    assert reaches.are_outgrown()
    assert RADII[reaches.index(scale, evaluated)] == 4


def test_scales_that_reach_everywhere_are_not_read():
    reaches = Reaches()
    reaches.index(Scale(1.0), LEARNED)
    reaches.index(Scale(600.0), LEARNED)
    assert [scale.largest() for scale in reaches.scales] == [1.0]


def test_a_scale_that_is_no_number_waits_for_an_error_elsewhere():
    reaches, scale = Reaches(), Scale(1.0)
    reaches.index(scale, LEARNED)
    scale.sigma = np.nan
    assert not reaches.are_outgrown()
