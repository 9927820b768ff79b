"""What an N-Jet convolution is, as plain functions for any number of axes; nothing here knows of layers."""
