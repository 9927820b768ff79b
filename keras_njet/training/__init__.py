"""What training and segmentation need and Keras lacks: a callback, an optimizer, a loss, a metric."""
