"""How far the compiled functions of a model reach: for filters of which size they are right.

An evaluation of a convolution is right up to a radius of the filters, its reach. Which evaluation a layer has is
decided when a function is compiled, by a σ that is still learned. Three rules keep it right, fast, and seldom compiled:

- A reach of a training has head-room: it is chosen for a filter that is larger than the present one by a factor.
- Before each step of a training the filters are compared with its reaches, and when an epoch, evaluation or prediction
  begins, with all. If one is outgrown, they are chosen again, and the factor is squared: 2^(1/16) at first, then
  2^(1/8), 2^(1/4), ... For evaluations and predictions it is divided by 2^(1/16): 1 at first.
- When an epoch, evaluation or prediction begins for the 2nd, 4th, 8th, ... time, all are compared with what would be
  chosen now, with the first factor again. They are chosen again if that would save more than compiling costs, in
  as many steps as there were so far.

After nine squarings every filter is reached. So n beginnings cost at most 10·(log2(n) + 1) compilations of a function.
"""

import dataclasses

from keras_njet._convolution import sizes

FIRST_HEAD_ROOM = 2.0 ** (1 / 16)
COMPILING = 0.5
"""Seconds that compiling a layer takes, roughly."""


@dataclasses.dataclass(frozen=True)
class Options:
    """The reaches between which a layer chooses.

    Attributes:
        extent: Number k > 0, half-width of the filters in units of σ.
        radii: Tuple of increasing integers, the reaches in pixels. The last one reaches everywhere.
        costs: Tuple of the seconds that a step takes with each of them.
        units: Tuple of numbers u > 0 in pixels, by which filter sizes are rounded: one, or one for each axis.
        is_trained: Whether it is for a function that trains, and so changes σ.
    """

    extent: float
    radii: tuple[int, ...]
    costs: tuple[float, ...]
    units: tuple[float, ...] = (1.0,)
    is_trained: bool = False

    def first(self, sigma: float, head_room: float) -> int:
        """Index of the first reach that is enough for a σ in pixels, given the head-room that trainings have."""
        factor = head_room if self.is_trained else head_room / FIRST_HEAD_ROOM
        return sizes.first_that_reaches(factor * sigma, self.extent, self.radii, self.units)

    def are_outgrown(self, sigma: float, index: int) -> bool:
        """Whether a filter is larger than the reach of this index."""
        if index >= len(self.radii) - 1 or not sigma > 0:
            return False
        return sizes.first_that_reaches(sigma, self.extent, self.radii, self.units) > index


class Reaches:
    """The reaches with which the functions of one model were made."""

    def __init__(self):
        self.chosen = {}  # (id of scale, options) -> (scale, index of the reach)
        self.head_room = FIRST_HEAD_ROOM
        self.beginnings = 1  # that in which the first function is made
        self.steps = 0

    def index(self, scale, options: Options) -> int:
        """Index of the reach that a layer has for its scale."""
        key = (id(scale), options)
        if key not in self.chosen:
            self.chosen[key] = (scale, options.first(scale.largest(), self.head_room))
        return self.chosen[key][1]

    def are_outgrown(self, of_training: bool = False) -> bool:
        """Whether a filter is larger than its reach. Then all are forgotten, to be chosen with more head-room.

        Args:
            of_training: Whether only the reaches of functions that train are compared, and forgotten.
        """
        compared = {key: note for key, note in self.chosen.items() if key[1].is_trained or not of_training}
        outgrown = any(
            options.are_outgrown(scale.largest(), index) for (_, options), (scale, index) in compared.items()
        )
        if outgrown:
            self.chosen = {key: note for key, note in self.chosen.items() if key not in compared}
            self.head_room **= 2
        return outgrown

    def begin(self) -> bool:
        """Counts an epoch, evaluation or prediction that begins; whether the reaches are to be chosen again."""
        self.beginnings += 1
        if self.beginnings & (self.beginnings - 1):  # no power of two
            return False
        saved = sum(
            options.costs[index] - options.costs[options.first(scale.largest(), FIRST_HEAD_ROOM)]
            for (_, options), (scale, index) in self.chosen.items()
        )
        if self.steps * saved <= COMPILING * len(self.chosen):
            return False
        self.head_room = FIRST_HEAD_ROOM
        return True

    @property
    def scales(self) -> list:
        """The scales of the filters that can outgrow their reach in a training."""
        return [
            scale
            for (_, options), (scale, index) in self.chosen.items()
            if options.is_trained and index < len(options.radii) - 1
        ]
