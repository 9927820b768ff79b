"""What the studies of the paper train: for each network its labels in the table, and options of the training recipe."""

import dataclasses
import shlex
from collections.abc import Callable

FILTER_SIZES = ((3, 3, 3), (5, 5, 3), (5, 5, 5), (7, 7, 7), (9, 9, 9))
ARCHITECTURES = ("NIN", "AllCNN", "ResNet32", "ResNet110", "EfficientNetB0")
QUICK_IMAGES = "--dataset fashion_mnist --width 0.125 --images 512 --test-images 256 --batch-size 64 --epochs 2"
QUICK_OBJECTS = "--filters 4 --images 16 --test-images 4 --epochs 2 --learning-rate 1e-3 --implementation dense"
QUICK_SCENES = "--backbone resnet32 --images 4 --test-images 2 --crop 64 --epochs 1"


@dataclasses.dataclass(frozen=True)
class Study:
    """A set of networks that are trained and compared.

    Attributes:
        networks: Function of `quick`, of pairs: labels of a network, options of the recipe that trains it.
        segments: Whether train_segmentation trains them, and not train_classifier.
        quick: Options for a version of some minutes.
        over: Column of the table over which the results are drawn, or None for one line for each network.
        needs_files: Whether the data must be given by --data-dir.
    """

    networks: Callable
    segments: bool = False
    quick: str = QUICK_IMAGES
    over: str | None = None
    needs_files: bool = False


def filter_sizes(quick):
    """Do filter sizes matter? NIN with other ones, with and without pooling."""
    for sizes in FILTER_SIZES[:3] if quick else FILTER_SIZES:
        name = "-".join(map(str, sizes))
        options = ["--model", "NIN", "--kernel-sizes", *map(str, sizes)]
        yield {"filter sizes": name, "subsampling": "pooling"}, options
        yield {"filter sizes": name, "subsampling": "none"}, [*options, "--no-subsampling"]


def fixed_sigma(quick):
    """Does σ matter? N-Jet-NIN with fixed scales, with the baseline's pooling and with safe subsampling."""
    for sigma in (0.5, 1.0, 2.0):
        options = ["--model", "NJetNIN", "--fixed-sigma", "--sigma", str(sigma)]
        yield {"σ": sigma, "subsampling": "pooling"}, [*options, "--no-subsampling"]
        yield {"σ": sigma, "subsampling": "safe"}, options


def subsample_rate(quick):
    """How far may feature maps shrink? N-Jet-NIN with learned scales at different r."""
    for rate in (2.0, 4.0, 6.0):
        yield {"r": rate}, ["--model", "NJetNIN", "--subsample-rate", str(rate)]


def data_sets(quick):
    """Does it generalise to other images? NIN and N-Jet-NIN on several data sets."""
    for dataset in ("mnist", "fashion_mnist") if quick else ("cifar10", "cifar100", "svhn"):
        for model in ("NIN", "NJetNIN"):
            yield {"data set": dataset, "network": model}, ["--model", model, "--dataset", dataset]


def architectures(quick):
    """Does it generalise to other networks? Each baseline beside its N-Jet version."""
    for model in ARCHITECTURES[:3] if quick else ARCHITECTURES:
        for twin in (model, f"NJet{model}"):
            yield {"network": twin}, ["--model", twin]


def object_scale(quick):
    """Do scales adapt to the objects' size? U-Net and N-Jet-U-Net on objects of several sizes."""
    for scale in ("1", "2") if quick else ("1", "2", "4", "random"):
        for name, options in U_NETS.items():
            yield {"network": name, "s": scale}, [*shlex.split(options), "--scale", scale]


U_NETS = {
    "U-Net, 3×3": "--model UNet",
    "N-Jet-U-Net, order 2": "--model NJetUNet --order 2",
    "N-Jet-U-Net, order 4": "--model NJetUNet --order 4",
}


def receptive_field(quick):
    """Does the receptive field decide? U-Nets with larger filters and more levels, and the N-Jet, on large objects."""
    scale, filters = ("1", 8) if quick else ("4", 64)
    for levels in (3,) if quick else (3, 4, 5):
        for size in (3, 4, 5):
            fewer = str(filters // 2 ** (levels - 3))
            options = ["--model", "UNet", "--levels", str(levels), "--kernel-size", str(size), "--filters", fewer]
            yield {"network": f"U-Net, {levels} levels", "filters": f"{size}×{size}"}, [*options, "--scale", scale]
    for order in (2,) if quick else (2, 4):
        options = ["--model", "NJetUNet", "--order", str(order), "--filters", str(filters), "--scale", scale]
        yield {"network": f"N-Jet-U-Net, order {order}", "filters": "learned"}, options


def pyramids(quick):
    """Dilation rates or learned scales? DeepLabv2 with several pyramids."""
    yield {"pyramid": "ASPP"}, ["--model", "DeepLabV2"]
    yield {"pyramid": "ASPP, tied"}, ["--model", "DeepLabV2", "--tied"]
    for order in (1, 3) if quick else (1, 2, 3, 4):
        yield {"pyramid": f"N-Jet, order {order}"}, ["--model", "NJetDeepLabV2", "--order", str(order)]


STUDIES = {
    "filter_sizes": Study(filter_sizes),
    "fixed_sigma": Study(fixed_sigma),
    "subsample_rate": Study(subsample_rate),
    "datasets": Study(data_sets, needs_files=True),
    "architectures": Study(architectures),
    "object_scale": Study(object_scale, True, QUICK_OBJECTS, over="s"),
    "receptive_field": Study(receptive_field, True, QUICK_OBJECTS.replace("--filters 4 ", ""), over="receptive field"),
    "pyramids": Study(pyramids, True, f"--dataset camvid {QUICK_SCENES}", needs_files=True),
}
