"""Keras layers with a learned resolution, and the layers that the paper compares them with."""

from keras_njet.layers.aspp import ASPP as ASPP
from keras_njet.layers.deformable_conv2d import DeformableConv2D as DeformableConv2D
from keras_njet.layers.njet_aspp import NJetASPP as NJetASPP
from keras_njet.layers.njet_conv1d import NJetConv1D as NJetConv1D
from keras_njet.layers.njet_conv2d import NJetConv2D as NJetConv2D
from keras_njet.layers.njet_conv3d import NJetConv3D as NJetConv3D
from keras_njet.layers.njet_depthwise_conv1d import NJetDepthwiseConv1D as NJetDepthwiseConv1D
from keras_njet.layers.njet_depthwise_conv2d import NJetDepthwiseConv2D as NJetDepthwiseConv2D
from keras_njet.layers.njet_depthwise_conv3d import NJetDepthwiseConv3D as NJetDepthwiseConv3D
from keras_njet.layers.resize_like import ResizeLike as ResizeLike
from keras_njet.layers.safe_subsample import SafeSubsample as SafeSubsample
from keras_njet.layers.scaled_pooling import ScaledPooling as ScaledPooling
