"""Trains a segmentation network, baseline or N-Jet, as in the paper's experiments of section IV-B.

    python -m applications.train_segmentation --model NJetUNet --dataset multiscale_fashion_mnist --scale 4
    python -m applications.train_segmentation --model NJetDeepLabV2 --dataset camvid --data-dir DIR --backbone resnet32

U-Nets are trained with Adam, DeepLabv2 with momentum, weight decay of everything but σ, a rate that falls to 0 as a
polynomial, and a head that learns ten times as fast, except for its scales (its weight decay is no faster). On
multi-scale Fashion-MNIST the loss of a class is weighted by the inverse of its frequency.

Writes into --out: log.csv (one row for each epoch: loss, mean IoU over the object classes, the scales), results.json
(configuration, versions, metrics), predictions.png (image, mask and prediction) and model.weights.h5.
"""

import numpy as np

from applications import _results, _training
from applications._arguments import ArgumentParser
from applications._pictures import draw_masks
from applications.data_sets import images, segmentation
from applications.data_sets import multiscale_fashion_mnist as multiscale

MODELS = ("UNet", "NJetUNet", "DeepLabV2", "NJetDeepLabV2")
ORDERS = {"NJetUNet": 2, "NJetDeepLabV2": 3}  # by default
DATASETS = ("multiscale_fashion_mnist", *segmentation.CLASSES)
SHOWN = 4
MOMENTUM = 0.9  # of DeepLabv2
RATES = {  # multiples of the learning rate; at ten times the rate, scales diverge
    "DeepLabV2": {"head": 10.0},
    "NJetDeepLabV2": {"log2_sigma": 1.0, "head": 10.0},
}


def main():
    _results.main(parse_arguments(), measure)


def parse_arguments(given=None):
    parser = ArgumentParser("train_segmentation", __doc__, "{recipe}/{dataset}/{model}/seed-{seed}", seed=True)
    parser.add_argument("--model", choices=MODELS, default="NJetUNet", help="default: %(default)s")
    parser.add_argument("--dataset", choices=DATASETS, default=DATASETS[0], help="default: %(default)s")
    parser.add_argument("--scale", default="4", help="multi-scale Fashion-MNIST: size of the objects, or random")
    parser.add_argument("--images", type=int, help="number of training images; default: all, or 1000 that are made")
    parser.add_argument("--test-images", type=int, help="number of test images; default: all, or 200 that are made")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, help="default: 1e-4 (U-Net), 2.5e-4 (DeepLabv2)")
    parser.add_argument("--crop", type=int, default=176, help="photographs: size of the random crops, in pixels")
    parser.add_argument("--precision", choices=["float32", "mixed_float16", "mixed_bfloat16"], default="float32")
    parser.add_argument("--filters", type=int, default=64, help="U-Net: filters of the first level; default: 64")
    parser.add_argument("--levels", type=int, default=3, help="U-Net: number of resolutions; default: 3")
    parser.add_argument("--kernel-size", type=int, default=3, help="UNet: size of the filters; default: 3")
    parser.add_argument("--order", type=int, help="N-Jet: highest order; default: 2 (U-Net), 3 (DeepLabv2)")
    parser.add_argument("--implementation", default="auto", choices=["auto", "matrix", "dense"], help="NJetUNet")
    parser.add_argument("--tied", action="store_true", help="DeepLabV2: share the filters (N-Jet layers always do)")
    parser.add_argument("--backbone", choices=["resnet32", "resnet101"], default="resnet101", help="DeepLabv2")
    parser.add_argument("--backbone-weights", choices=["imagenet"], help="of resnet101; default: random")
    arguments = parser.read(given)
    is_njet, is_deeplab = arguments.model.startswith("NJet"), arguments.model.endswith("DeepLabV2")
    if is_deeplab and arguments.backbone == "resnet101" and arguments.dataset not in segmentation.CLASSES:
        parser.error(
            f"resnet101 needs photographs: expected --backbone resnet32, or --dataset {' or '.join(DATASETS[1:])}. "
            f"Received: --dataset {arguments.dataset}"
        )
    is_unet, is_made = not is_deeplab, arguments.dataset == "multiscale_fashion_mnist"
    used = {  # not --implementation, which changes no result, and which studies give to all networks
        "scale": is_made,
        "crop": not is_made,
        "filters": is_unet,
        "levels": is_unet,
        "kernel_size": is_unet and not is_njet,
        "order": is_njet,
        "tied": is_deeplab and not is_njet,
        "backbone": is_deeplab,
        "backbone_weights": is_deeplab and arguments.backbone == "resnet101",
    }
    for name, is_used in used.items():
        value = getattr(arguments, name)
        if value != parser.get_default(name) and not is_used:
            option = f"--{name.replace('_', '-')}"
            parser.error(
                f"{option} has no effect here. Received: --model {arguments.model}, --dataset {arguments.dataset}, "
                f"--backbone {arguments.backbone}, {option} {value}"
            )
    return arguments


def train(arguments) -> dict:
    """Trains one network and returns what results.json holds. A run that has ended is not repeated."""
    return _results.run(arguments, measure)


def measure(arguments):
    """Trains one network and draws what it predicts; returns what is known of it."""
    import keras

    keras.utils.set_random_seed(arguments.seed)
    keras.config.set_dtype_policy(arguments.precision)
    train_set, test_set, classes = load(arguments)
    model = make_model(classes, train_set[0][0].shape[-1], arguments)
    compile_model(model, classes, train_set, arguments)
    log = _training.fit_with_log(model, train_set, arguments, validation_data=test_set)
    names = segmentation.NAMES.get(arguments.dataset, multiscale.NAMES)
    draw_masks(predictions(model, test_set), names, arguments.out / "predictions.png")
    return {
        "metrics": {
            "test_miou": log[-1]["val_miou"],
            "train_miou": log[-1]["miou"],
            "trained_parameters": _training.trained_parameters(model),
            "seconds": sum(row["seconds"] for row in log),
            **sizes(model),
            **{name: value for name, value in log[-1].items() if "/sigma" in name},
        },
    }


def trained(run, **others):
    """The network of a folder with its weights, its test images, and its arguments, some of which `others` replace."""
    chosen = _results.recorded(run, **others)
    _, test_set, classes = load(chosen)
    model = make_model(classes, test_set[0][0].shape[-1], chosen)
    model.load_weights(run / "model.weights.h5")
    return model, test_set, chosen


def load(arguments):
    """The training set and the test set, as batches, and the number of classes."""
    if arguments.dataset == "multiscale_fashion_mnist":
        scale = arguments.scale if arguments.scale == "random" else int(arguments.scale)
        sets = images.load_pixels("fashion_mnist", arguments.data_dir)
        counts = (arguments.images or 1000, arguments.test_images or 200)
        made = [
            multiscale.make_dataset(*pixels, scale, count, arguments.batch_size, seed=2 * arguments.seed + part)
            for part, (pixels, count) in enumerate(zip(sets, counts, strict=True))
        ]
        return *made, multiscale.CLASSES
    if arguments.data_dir is None:
        raise ValueError(f"Expected the folder of {arguments.dataset}. Received: data_dir=None")
    pairs = {}
    for part, limit in (("train", arguments.images), ("test", arguments.test_images)):
        found = segmentation.find_pairs(arguments.dataset, arguments.data_dir, part)[:limit]
        pairs[part] = [segmentation.read_pair(arguments.dataset, *paths) for paths in found]
    preprocess = preprocessing(arguments)
    train_set = segmentation.random_crops(
        pairs["train"], arguments.batch_size, preprocess, arguments.crop, arguments.seed
    )
    test_set = segmentation.whole_images(pairs["test"], preprocess)
    return train_set, test_set, segmentation.CLASSES[arguments.dataset]


def preprocessing(arguments):
    """From uint8 images to the input of the network."""
    if arguments.model.endswith("DeepLabV2") and arguments.backbone == "resnet101":
        import keras

        return lambda x: keras.applications.resnet.preprocess_input(
            np.broadcast_to(x, (*x.shape[:3], 3)).astype("float32"), data_format="channels_last"
        )
    return lambda x: x.astype("float32") / 127.5 - 1.0


def make_model(classes, channels, arguments):
    """The network, for images of any size."""
    from keras_njet import applications

    shape = (None, None, channels)
    order = {} if arguments.order is None else {"order": arguments.order}
    if arguments.model.endswith("UNet"):
        given = {"input_shape": shape, "classes": classes, "levels": arguments.levels, "filters": arguments.filters}
        if arguments.model == "UNet":
            return applications.UNet(**given, kernel_size=arguments.kernel_size)
        return applications.NJetUNet(**given, **order, implementation=arguments.implementation)
    given = {"classes": classes, "freeze_batch_normalization": arguments.backbone_weights is not None}
    if arguments.backbone == "resnet32":  # whose feature map has a quarter of the image's size
        backbone = applications.ResNet32(include_top=False, input_shape=shape)
        given |= {"backbone": backbone, "output_stride": 4}
    else:
        given |= {"backbone_weights": arguments.backbone_weights}
    if arguments.model == "DeepLabV2":
        return applications.DeepLabV2(**given, tied=arguments.tied)
    return applications.NJetDeepLabV2(**given, **order)


def label(arguments):
    """What tells runs apart: the network, its order, filters and levels, and its data or the scale of its objects."""
    order = ORDERS.get(arguments.model) if arguments.order is None else arguments.order
    size = arguments.kernel_size
    parts = [arguments.model]
    parts += [f"order {order}"] if arguments.model in ORDERS else []
    parts += ["tied"] if arguments.tied else []
    parts += [f"{arguments.levels} levels"] if arguments.levels != 3 else []
    parts += [f"{size}×{size}"] if size != 3 else []
    parts += [f"s = {arguments.scale}" if arguments.dataset == "multiscale_fashion_mnist" else arguments.dataset]
    return ", ".join(parts)


def compile_model(model, classes, train_set, arguments):
    import keras

    import keras_njet

    weights = None
    if arguments.dataset == "multiscale_fashion_mnist":
        weights = inverse_frequencies(train_set, classes)
    if arguments.model.endswith("UNet"):
        optimizer = keras.optimizers.Adam(arguments.learning_rate or 1e-4)
    else:
        steps = arguments.epochs * len(train_set)
        rate = keras.optimizers.schedules.PolynomialDecay(arguments.learning_rate or 2.5e-4, steps, 0.0, power=0.9)
        # 5e-4 in the gradient, which momentum multiplied by 1 / (1 - momentum); that of Keras is decoupled.
        decay = 5e-4 / (1.0 - MOMENTUM)
        optimizer = keras_njet.LayerwiseSGD(rate, RATES[arguments.model], momentum=MOMENTUM, weight_decay=decay)
        optimizer.exclude_from_weight_decay(var_names=["log2_sigma"])
    loss = keras_njet.SegmentationCrossentropy(weights, segmentation.IGNORED)
    model.compile(optimizer, loss, metrics=[mean_iou(classes, arguments.dataset)])


def mean_iou(classes, dataset):
    """The metric: the mean over all classes of photographs, and over those of objects elsewhere."""
    import keras_njet

    objects = list(range(classes)) if dataset in ("camvid", "voc") else list(range(1, classes))
    return keras_njet.SegmentationIoU(classes, objects, segmentation.IGNORED)


def inverse_frequencies(batches, classes, count=200):
    """Weights of classes: the inverse of their frequencies in the first batches, at a mean of 1."""
    counts = np.zeros(classes)
    for index in range(min(len(batches), count)):
        y = batches[index][1]
        counts += np.bincount(y[y != segmentation.IGNORED], minlength=classes)
    weights = 1.0 / np.maximum(counts, 1.0)
    return weights / weights.mean()


def sizes(model):
    """The mean scale of the N-Jet layers, and for U-Nets the receptive field at the end of the encoder, in pixels."""
    import keras

    import keras_njet

    layers = [layer for layer in model.layers if isinstance(layer, (keras_njet.NJetConv2D, keras_njet.NJetASPP))]
    found = {"mean_sigma": float(np.mean([layer.sigma_numbers().mean() for layer in layers]))} if layers else {}
    field, stride = 1, 1
    for layer in model.layers:
        if isinstance(layer, keras.layers.MaxPooling2D):
            field, stride = field + stride, 2 * stride
        elif layer.name.startswith(("down", "bottom")) and hasattr(layer, "kernel_size"):
            field += (layer.kernel_size[0] - 1) * stride
    return {**found, "receptive_field": field} if model.name.endswith("unet") else found


def predictions(model, batches):
    """Images, masks and predictions, to be drawn."""
    rows = []
    for index in range(min(SHOWN, len(batches))):
        x, y = (part[:1] for part in batches[index])
        predicted = np.argmax(model.predict(x, verbose=0)[0], axis=-1)
        image = (x[0] - x.min()) / max(float(np.ptp(x)), 1e-6)
        rows.append((image[..., ::-1] if image.shape[-1] == 3 and x.min() < -1.5 else image,
                     {"mask": y[0], "prediction": predicted}, f"test image {index}"))  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
