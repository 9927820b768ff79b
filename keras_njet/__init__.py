"""N-Jet layers for Keras 3: convolutions that learn the size of their filters and feature maps."""

from keras_njet import applications as applications
from keras_njet._resolution.following import update_sizes as update_sizes
from keras_njet.callbacks import ResolutionCallback as ResolutionCallback
from keras_njet.initializers import NJetVarianceScaling as NJetVarianceScaling
from keras_njet.inspection import visualization as visualization
from keras_njet.inspection.not_finite import find_nan as find_nan
from keras_njet.inspection.summary import summary as summary
from keras_njet.layers import NJetASPP as NJetASPP
from keras_njet.layers import NJetConv1D as NJetConv1D
from keras_njet.layers import NJetConv2D as NJetConv2D
from keras_njet.layers import NJetConv3D as NJetConv3D
from keras_njet.layers import NJetDepthwiseConv1D as NJetDepthwiseConv1D
from keras_njet.layers import NJetDepthwiseConv2D as NJetDepthwiseConv2D
from keras_njet.layers import NJetDepthwiseConv3D as NJetDepthwiseConv3D
from keras_njet.layers import SafeSubsample as SafeSubsample
from keras_njet.losses import SegmentationCrossentropy as SegmentationCrossentropy
from keras_njet.metrics import SegmentationIoU as SegmentationIoU
from keras_njet.optimizers import LayerwiseSGD as LayerwiseSGD
from keras_njet.transforms.batch_statistics import adapt_batch_statistics as adapt_batch_statistics
from keras_njet.transforms.conversion import convert as convert
from keras_njet.transforms.fitting import fit_filters as fit_filters
from keras_njet.transforms.freezing import freeze as freeze
from keras_njet.transforms.progressive import fit_progressively as fit_progressively
from keras_njet.transforms.rescaling import rescale as rescale
from keras_njet.transforms.scale_channels import ScaleChannels as ScaleChannels

__version__ = "0.2.0"
__all__ = [
    "LayerwiseSGD",
    "NJetASPP",
    "NJetConv1D",
    "NJetConv2D",
    "NJetConv3D",
    "NJetDepthwiseConv1D",
    "NJetDepthwiseConv2D",
    "NJetDepthwiseConv3D",
    "NJetVarianceScaling",
    "ResolutionCallback",
    "SafeSubsample",
    "ScaleChannels",
    "SegmentationCrossentropy",
    "SegmentationIoU",
    "adapt_batch_statistics",
    "applications",
    "convert",
    "find_nan",
    "fit_filters",
    "fit_progressively",
    "freeze",
    "rescale",
    "summary",
    "update_sizes",
    "visualization",
]
