"""Cuts a feature map into tiles, each with a halo, so that the cost of a pixel does not grow with the map."""

import dataclasses
import math

from keras import ops

from keras_njet._convolution.sampling import Axis


@dataclasses.dataclass(frozen=True)
class Tiling:
    """A feature map cut into tiles along some of its axes.

    Attributes:
        axes: The whole axes.
        block: Integer, how many output pixels a tile has along an axis that is cut.
        halo: Integer, how many pixels around them a tile of the input has on either side.
    """

    axes: tuple[Axis, ...]
    block: int
    halo: int

    @property
    def is_cut(self) -> tuple[bool, ...]:
        """Which axes are cut: those that are known and longer than a tile."""
        return tuple(axis.is_known and axis.size > self._tile(axis).size for axis in self.axes)

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of tiles along each axis that is cut."""
        return tuple(-(-axis.count // self.block) for axis, cut in zip(self.axes, self.is_cut, strict=True) if cut)

    @property
    def axes_of_tile(self) -> tuple[Axis, ...]:
        """The axes of a tile. Those that are cut are not subsampled in it."""
        return tuple(self._tile(axis) if cut else axis for axis, cut in zip(self.axes, self.is_cut, strict=True))

    def cut(self, x):
        """(batch, *sizes, channels) -> (batch · tiles, *sizes of a tile, channels); 0 outside of the map."""
        for index, cut in reversed(list(enumerate(self.is_cut))):
            x = self._windows(x, index) if cut else x
        shape, sizes = ops.shape(x), [axis.size for axis in self.axes_of_tile]
        return ops.reshape(ops.transpose(x, self._tiles_lead()), (-1, *sizes, shape[-1]))

    def join(self, x):
        """(batch · tiles, *counts of a tile, filters) -> (batch, *counts, filters): the reverse of `cut`."""
        lead = self._tiles_lead()
        shape = ops.shape(x)
        x = ops.reshape(x, (-1, *self.counts, *shape[1:]))
        x = ops.transpose(x, [lead.index(position) for position in range(len(lead))])
        sizes = [
            -(-axis.count // self.block) * self.block if cut else size
            for axis, cut, size in zip(self.axes, self.is_cut, shape[1:-1], strict=True)
        ]
        x = ops.reshape(x, (-1, *sizes, shape[-1]))
        kept = [slice(axis.count if cut else None) for axis, cut in zip(self.axes, self.is_cut, strict=True)]
        return x[(slice(None), *kept)]

    def _tile(self, axis):
        return Axis.of_tile(self.block, self.halo, axis.stride)

    def _tiles_lead(self):
        """The transposition to the front of the axes of tiles, each of which stands before that of their pixels."""
        of_tiles, of_pixels, position = [], [], 1
        for cut in self.is_cut:
            of_tiles += [position] if cut else []
            of_pixels.append(position + cut)
            position += 1 + cut
        return [0, *of_tiles, *of_pixels, position]

    def _windows(self, x, index):
        """Replaces an axis by two: the tiles, and the pixels that each of them needs."""
        axis, shape = self.axes[index], ops.shape(x)
        window, hop = self._tile(axis).size, axis.stride * self.block
        count, after = -(-axis.count // self.block), shape[2 + index :]
        x = ops.reshape(x, (-1, axis.size, math.prod(after)))
        before = self.halo - axis.start
        length = hop * (count - 1 + -(-window // hop))
        behind = length - before - axis.size
        x = x[:, max(0, -before) : axis.size - max(0, -behind)]
        x = ops.pad(x, [[0, 0], [max(0, before), max(0, behind)], [0, 0]])
        blocks = ops.reshape(x, (-1, length // hop, hop, math.prod(after)))
        parts = [blocks[:, shift : shift + count, : window - shift * hop] for shift in range(-(-window // hop))]
        windows = ops.concatenate(parts, axis=2) if len(parts) > 1 else parts[0]
        return ops.reshape(windows, (-1, *shape[1 : 1 + index], count, window, *after))
