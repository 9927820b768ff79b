"""Keras layers with a learned resolution."""

from keras_njet.layers.njet_conv2d import NJetConv2D as NJetConv2D
from keras_njet.layers.njet_depthwise_conv2d import NJetDepthwiseConv2D as NJetDepthwiseConv2D
from keras_njet.layers.safe_subsample import SafeSubsample as SafeSubsample
