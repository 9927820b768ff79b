"""Guards pictures: classes can be told apart by their colours."""

import numpy as np
import pytest

from applications import _pictures


@pytest.mark.parametrize("classes", [2, 11, 20, 21, 40])
def test_each_class_has_a_colour_of_its_own(classes):
    colours = _pictures.colours_of(classes)(np.arange(classes))
    assert len(np.unique(colours, axis=0)) == classes
