"""Times and memory of keras-njet beside Keras' own layers: `python -m benchmarks`."""
