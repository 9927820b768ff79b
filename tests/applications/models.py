"""Every application in a narrow version, small enough for tests."""

from keras_njet import applications

SHALLOW = ("NIN", "NJetNIN", "AllCNN", "NJetAllCNN", "ResNet32", "NJetResNet32")
DEEP = ("ResNet110", "NJetResNet110", "EfficientNetB0", "NJetEfficientNetB0")
ALL = SHALLOW + DEEP


def build(name, **arguments):
    if name.endswith("EfficientNetB0"):
        arguments = {"weights": None, "classes": 10, "input_shape": (32, 32, 3), **arguments}
    else:
        arguments = {"width": 0.125, **arguments}
    return getattr(applications, name)(**arguments)


def size(name):
    """Height and width of small images for this application."""
    return (32, 32) if name.endswith("EfficientNetB0") else (16, 12)
