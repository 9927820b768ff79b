"""How a layer holds its learned scale, and how the sizes of a model follow it."""
