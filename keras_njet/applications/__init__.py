"""Networks for classification and segmentation and their N-Jet versions, as in `keras.applications`."""

from keras_njet.applications import all_cnn as all_cnn
from keras_njet.applications import deeplab as deeplab
from keras_njet.applications import efficientnet as efficientnet
from keras_njet.applications import nin as nin
from keras_njet.applications import resnet as resnet
from keras_njet.applications import unet as unet
from keras_njet.applications._weights import list_weights as list_weights
from keras_njet.applications.all_cnn import AllCNN as AllCNN
from keras_njet.applications.all_cnn import NJetAllCNN as NJetAllCNN
from keras_njet.applications.deeplab import DeepLabV2 as DeepLabV2
from keras_njet.applications.deeplab import NJetDeepLabV2 as NJetDeepLabV2
from keras_njet.applications.efficientnet import EfficientNetB0 as EfficientNetB0
from keras_njet.applications.efficientnet import NJetEfficientNetB0 as NJetEfficientNetB0
from keras_njet.applications.nin import NIN as NIN
from keras_njet.applications.nin import NJetNIN as NJetNIN
from keras_njet.applications.resnet import NJetResNet32 as NJetResNet32
from keras_njet.applications.resnet import NJetResNet110 as NJetResNet110
from keras_njet.applications.resnet import ResNet32 as ResNet32
from keras_njet.applications.resnet import ResNet110 as ResNet110
from keras_njet.applications.unet import NJetUNet as NJetUNet
from keras_njet.applications.unet import UNet as UNet
