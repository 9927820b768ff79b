"""How far the compiled functions of a model reach: for filters of which size they are right.

An evaluation of a convolution is right up to a radius of the filters, its reach. Which evaluation a layer has is
decided when a function is compiled, by a σ that is still learned. Three rules keep it right, fast, and seldom compiled:

- A reach has head-room: it is chosen for a filter that is larger than the present one by a factor.
- Before each step of a training the filters are compared with the reaches. If one is outgrown, all are chosen anew, and
  the factor is squared: 2^(1/16) at first, then 2^(1/8), 2^(1/4), ...
- When an epoch, evaluation or prediction begins for the 1st, 2nd, 4th, 8th, ... time, all are compared with what would
  be chosen now, with the first factor again.

After nine squarings every filter is reached. So n beginnings cost at most 10·(log2(n) + 1) compilations of a function.
"""

from keras_njet._convolution import sizes

FIRST_HEAD_ROOM = 2.0 ** (1 / 16)


class Reaches:
    """The reaches with which the functions of one model were made."""

    def __init__(self):
        self.chosen = {}  # (id of scale, extent, reaches, whether it has head-room) -> (scale, index of the reach)
        self.head_room = FIRST_HEAD_ROOM
        self.beginnings = 1  # that in which the first function is made

    def index(self, scale, extent: float, reaches: tuple[int, ...], has_head_room: bool) -> int:
        """Index of the reach, of some increasing radii in pixels, that a layer has for its scale."""
        key = (id(scale), extent, reaches, has_head_room)
        if key not in self.chosen:
            self.chosen[key] = (scale, self._wanted(*key, scale))
        return self.chosen[key][1]

    def are_outgrown(self) -> bool:
        """Whether a filter is larger than its reach. Then all are forgotten, to be chosen with more head-room."""
        outgrown = [
            has_head_room
            for (_, extent, reaches, has_head_room), (scale, index) in self.chosen.items()
            if index < len(reaches) - 1 and extent * scale.largest() * (1.0 - 1e-5) > reaches[index]
        ]
        if outgrown:
            self.chosen.clear()
            self.head_room **= 1 + any(outgrown)
        return bool(outgrown)

    def begin(self) -> bool:
        """Counts an epoch, evaluation or prediction that begins; whether the reaches are to be chosen anew."""
        self.beginnings += 1
        if self.beginnings & (self.beginnings - 1):  # no power of two
            return False
        self.head_room = FIRST_HEAD_ROOM
        return any(self._wanted(*key, scale) != index for key, (scale, index) in self.chosen.items())

    @property
    def scales(self) -> list:
        """The scales of the filters that can outgrow their reach."""
        return [scale for (_, _, reaches, _), (scale, index) in self.chosen.items() if index < len(reaches) - 1]

    def _wanted(self, _, extent, reaches, has_head_room, scale):
        factor = self.head_room if has_head_room else 1.0
        return sizes.first_that_reaches(factor * scale.largest(), extent, reaches)
