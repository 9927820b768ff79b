"""Functions that make new networks, or new filters, from given ones."""
