"""Guards figures in README, docs and cards: they are those of the result files, and tables those that recipes wrote."""

import itertools
import json
import re
import statistics

import pytest

from applications import learn_resolution
from tests.helpers import ROOT

CARDS = ROOT / "applications"


def results(folder):
    return json.loads((CARDS / folder / "results.json").read_text())


def runs(folder, **wanted):
    """The rows of a study with these values."""
    return [row for row in results(folder)["runs"] if all(row[name] == value for name, value in wanted.items())]


def mean_std(values, digits=3):
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def learned_sigma():
    """σ that was learned on images of each size, the smallest first."""
    folder, sizes = "learned_resolution/results/mnist", (0.75, 1.0, 1.5, 2.0)
    return [mean_std([row["sigma"]["njet"][-1] for row in runs(folder, factor=size)], 2) for size in sizes]


def power_of_sigma():
    found = learn_resolution.powers(results("learned_resolution/results/mnist")["runs"])
    return [mean_std(found, 2)]


def not_converted(rate=""):
    """The accuracy of NIN, and of NIN after an epoch."""
    found = results(f"conversion/results{rate}")
    return [f"{found[name]:.4f}" for name in ("original", "original_trained")]


def accuracies(network, method, folder="any_size/results/fashion_mnist_released"):
    (row,) = runs(folder, network=network)
    return {size: f"{found['accuracy']:.3f}" for size, found in row["methods"][method].items()}


def on_enlarged_photographs():
    folder = "any_size/results/cifar10_released_all"
    with_statistics = accuracies("NJetNIN", "rescaled, statistics", folder)
    resized = accuracies("NJetNIN", "images resized back", folder)
    own = accuracies("NJetNIN", "rescaled", folder)["1"]
    return [with_statistics["1.5"], with_statistics["2"], with_statistics["3"], own, *list(resized.values())[1:]]


def of_network(run, metric="test_accuracy"):
    return results(run)["metrics"][metric]


def points(run, other, metric="test_accuracy"):
    """How much more a run has than another one, in points."""
    return 100 * (of_network(run, metric) - of_network(other, metric))


def of_seed_1(networks):
    """The accuracies of N-Jet-NIN and of NIN, and the points between them."""
    _, njet, _, nin = networks
    return [of_network(njet), of_network(nin), points(njet, nin)]


def of_series(method):
    return mean_std([row["test_accuracy"] for row in runs("series/results/OSULeaf", method=method)])


def measured(name):
    """What a benchmark found on each backend."""
    paths = [ROOT / "benchmarks" / "results" / f"{name}_{backend}.json" for backend in ("tensorflow", "jax", "torch")]
    return [json.loads(path.read_text()) for path in paths]


def of_networks(other, wanted, of_backends=None):
    """The time of N-Jet networks over that of others, sorted."""
    rows = (row for rows in of_backends or measured("networks") for row in rows if wanted(row["network"]))
    return sorted(row["seconds"]["N-Jet"] / row["seconds"][other] for row in rows)


def plain_networks():
    of_nin = of_networks("plain", lambda network: network.startswith("nin"))
    others = of_networks("plain", lambda network: not network.startswith("nin"))
    return of_nin[0], of_nin[-1], others[0], others[-1]


def rescaled(*sizes):
    found = accuracies("NJetNIN", "rescaled")
    return [found[size] for size in sizes]


def said(page):
    """The text of a page on one line."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").replace("**", "").split())


def fields(folder="receptive_field"):
    """How many pixels half of an effective receptive field takes, of U-Nets and of an N-Jet-U-Net."""
    return results(f"unet/results/{folder}")["metrics"].values()


def of_u_nets(*names):
    """The test mIoU on objects of 56 pixels, of each seed."""
    folders = (f"unet/results/levels_and_filters/{name}{seed}" for name in names for seed in ("", "-seed1", "-seed2"))
    return [of_network(folder, "test_miou") for folder in folders]


def evaluated(*names):
    """The mIoU on the same images, of each seed."""
    rows = runs("unet/results/levels_and_filters/evaluated")
    return [row["miou"] for name in names for row in rows if row["network"] == name]


def scales_of_the_deepest_layers():
    folders = (f"unet/results/object_scale/NJetUNet-order2-s4-seed{seed}" for seed in (0, 1))
    found = [of_network(folder, f"bottom3_conv{number}/sigma") for folder in folders for number in (1, 2)]
    return min(found), max(found)


def of_seeds(*sizes, network="NJetNIN", method="rescaled", data="fashion_mnist"):
    """Mean accuracies of the networks that were trained with several seeds."""
    rows = [row["methods"][method] for row in runs(f"any_size/results/{data}", network=network)]
    return [f"{statistics.mean(row[size]['accuracy'] for row in rows):.3f}" for size in sizes]


def parameters_of_pyramids():
    """Of ASPP, which has four 3×3 filters from 64 channels to 11 classes and a bias, and of the N-Jets beside it."""
    counts = [of_network(run, "trained_parameters") for run in CAMVID]
    backbone = counts[0] - (4 * 9 * 64 * 11 + 11)
    return [count - backbone for count in counts]


def at_smaller_sizes():
    methods = ("rescaled, integrated, statistics", "rescaled, statistics")
    return [accuracies("NJetNIN", method)[size] for method in methods for size in ("0.75", "0.5")]


FASHION_MNIST, CIFAR10 = (
    [f"nin/results/{data}/{name}/seed-{seed}" for name in ("NJetNIN", "NIN") for seed in (0, 1)]
    for data in ("fashion_mnist", "cifar10")
)
ALL_CNN = [f"all_cnn/results/cifar10/{name}/seed-0" for name in ("NJetAllCNN", "AllCNN")]
ISBI = "unet/results/isbi_em/NJetUNet"
CAMVID = [f"deeplab/results/camvid/{name}" for name in ("DeepLabV2", "NJetDeepLabV2-order1", "NJetDeepLabV2-order3")]
CLAIMS = [  # a page, a sentence of it, and the figures in it
    ("README.md", "it learns {}, {}, {} and {}", learned_sigma),
    ("README.md", "with the power {} of their size", power_of_sigma),
    ("README.md", "has {}, {}, {} and {} on Fashion-MNIST at 1.5, 2, 3 and 4", lambda: rescaled("1.5", "2", "3", "4")),
    ("README.md", "beside {} at its own", lambda: rescaled("1")),
    (
        "README.md",
        "{}, {} and {} at 1.5, 2 and 3 times, beside {} at its own; with images that are resized back {}, {} and {}.",
        on_enlarged_photographs,
    ),
    ("README.md", "three N-Jet layers have {}, the best", lambda: [of_series("N-Jet")]),
    ("README.md", "sizes of `Conv1D` {} with six times", lambda: [of_series("Conv1D, 27")]),
    ("README.md", "takes {:.2f} to {:.2f} of the time, the others {:.2f} to {:.2f}", plain_networks),
    (
        "README.md",
        "On CIFAR-10, N-Jet-NIN has {:.4f} and {:.4f} from two seeds, and NIN {:.4f} and {:.4f}; on Fashion-MNIST "
        "it has {:.4f} and {:.4f}, and NIN {:.4f} and {:.4f}.",
        lambda: [of_network(run) for run in (*CIFAR10, *FASHION_MNIST)],
    ),
    ("README.md", "as accurate as ALL-CNN ({:.4f} and {:.4f}, one", lambda: [of_network(run) for run in ALL_CNN]),
    (
        "applications/nin/README.md",
        "`width=0.25`. N-Jet-NIN has {:.1f} points more than NIN",
        lambda: [points(CIFAR10[0], CIFAR10[2])],
    ),
    (
        "applications/nin/README.md",
        "`input_shape=(28, 28, 1)`. N-Jet-NIN has {:.1f} points more than NIN",
        lambda: [points(FASHION_MNIST[0], FASHION_MNIST[2])],
    ),
    (
        "applications/nin/README.md",
        "From seed 1 it has {:.4f} and NIN {:.4f}: {:.1f} points more",
        lambda: of_seed_1(CIFAR10),
    ),
    (
        "applications/nin/README.md",
        "From seed 1 it has {:.4f} and NIN {:.4f}: {:.1f} points more",
        lambda: of_seed_1(FASHION_MNIST),
    ),
    (
        "applications/all_cnn/README.md",
        "has a test accuracy of {:.4f} and ALL-CNN {:.4f}",
        lambda: [of_network(run) for run in ALL_CNN],
    ),
    (
        "applications/all_cnn/README.md",
        "the N-Jet has {:.1f} points more",
        lambda: [points(*ALL_CNN, "train_accuracy")],
    ),
    (
        "applications/all_cnn/README.md",
        "(σ = {:.2f} and {:.2f}, filters of 5×5 pixels), the last two have σ = {:.2f} and {:.2f} and 9×9",
        lambda: [of_network(ALL_CNN[0], f"conv{number}/sigma") for number in (1, 2, 6, 7)],
    ),
    ("docs/paper.md", "Here σ grows with the power {} of the size", power_of_sigma),
    ("applications/learned_resolution/README.md", "grows with the power {} of the size", power_of_sigma),
    ("applications/conversion/README.md", "NIN itself has {}, and {} after such an epoch", not_converted),
    ("applications/conversion/README.md", "NIN has {1} after the epoch", lambda: not_converted("/slower")),
    ("applications/unet/README.md", "within {:.0f} pixels of the baseline, and within {:.0f} of the N-Jet", fields),
    ("applications/unet/README.md", "ends between {:.2f} and {:.2f} pixels", scales_of_the_deepest_layers),
    (
        "applications/unet/README.md",
        "within {4:.0f} pixels, and within {1:.0f} of the baseline with 5×5 filters (within {0:.0f}, {2:.0f} and "
        "{3:.0f} of the others",
        lambda: fields("levels_and_filters/fields"),
    ),
    (
        "applications/unet/README.md",
        "a field of 32 pixels has {:.3f}, {:.3f} and {:.3f}, the one with 5×5 filters and a field of 60 has "
        "{:.3f}, {:.3f} and {:.3f}. One more level, a field of 68, has {:.3f}, {:.3f} and {:.3f}",
        lambda: of_u_nets("UNet-3levels-3x3", "UNet-3levels-5x5", "UNet-4levels-3x3"),
    ),
    (
        "applications/unet/README.md",
        "The N-Jet has {:.3f}, {:.3f} and {:.3f}: from two of three seeds",
        lambda: of_u_nets("NJetUNet-order2"),
    ),
    (
        "docs/paper.md",
        "(on the same 500 images {:.3f}, {:.3f} and {:.3f}; the U-Net with 3×3 filters has {:.3f}, {:.3f} and {:.3f}, "
        "with 5×5 filters {:.3f}, {:.3f} and {:.3f})",
        lambda: evaluated("NJetUNet, order 2, s = 2", "UNet, s = 2", "UNet, 5×5, s = 2"),
    ),
    ("applications/unet/README.md", "IoU of the cells {:.3f}", lambda: [of_network(ISBI, "test_miou")]),
    (
        "applications/deeplab/README.md",
        "With order 3 the N-Jet has {:.0f} points more, on test images",
        lambda: [points(CAMVID[2], CAMVID[0], "test_miou")],
    ),
    (
        "applications/deeplab/README.md",
        "with order 1 it has {:.0f} point more on test images and {:.0f} less on training images",
        lambda: [points(CAMVID[1], CAMVID[0], "test_miou"), points(CAMVID[0], CAMVID[1], "train_miou")],
    ),
    (
        "applications/deeplab/README.md",
        "has {0:,.0f} parameters as ASPP, {2:,.0f} with order 3 and {1:,.0f} with order 1",
        parameters_of_pyramids,
    ),
    (
        "applications/any_size/README.md",
        "has {}, {}, {} and {} at ×1.41, ×2, ×2.83 and ×4, beside {} at its own size. With images",
        lambda: of_seeds("1.41", "2", "2.83", "4", "1"),
    ),
    ("applications/any_size/README.md", "keep {} and {} there, sampled ones {} and {}", at_smaller_sizes),
]


@pytest.mark.parametrize(("page", "sentence", "figures"), CLAIMS, ids=[f"{page}: {text}" for page, text, _ in CLAIMS])
def test_a_figure_is_that_of_the_result_file(page, sentence, figures):
    expected = sentence.format(*figures())
    assert expected in said(page), expected


def test_six_to_seven_times_is_what_was_measured():
    assert "takes six to seven times as long a step as ResNet-32" in said("README.md")
    assert [round(ratio) for ratio in of_networks("baseline", lambda network: network == "resnet32")] == [6, 7, 7]


def test_what_the_first_step_and_memory_cost():
    text = said("README.md")
    assert "takes two to three times as long on TensorFlow and JAX" in text
    *compiling, _ = measured("networks_first_step")
    compiled = of_networks("baseline", lambda network: network.startswith("resnet"), compiling)
    assert len(compiled) == 4
    assert {round(ratio) for ratio in compiled} == {2, 3}
    assert "a layer needs up to six times the memory" in text
    memory = [row["N-Jet"]["megabytes"] / row["Keras"]["megabytes"] for row in measured("first_step")]
    assert round(max(memory)) == 6


def tables_of(text):
    """For each table with figures its rows that hold some, without spaces at the ends of cells."""
    groups = itertools.groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    tables = [list(lines) for is_table, lines in groups if is_table]
    rows = [[re.sub(r"\s*\|\s*", "|", row) for row in table if re.search(r"0\.\d{3}", row)] for table in tables]
    return [set(found) for found in rows if found]


@pytest.mark.parametrize(
    "card",
    [
        "adaptive",
        "any_size",
        "conversion",
        "filters",
        "series",
        "learned_resolution",
        "nin",
        "unet",
        "deeplab",
        "all_cnn",
    ],
)
def test_tables_of_a_card_are_those_that_recipes_wrote(card):
    written = [table for path in (CARDS / card).rglob("table.md") for table in tables_of(path.read_text())]
    shown = tables_of((CARDS / card / "README.md").read_text())
    assert shown
    for table in shown:
        assert any(table <= of_a_recipe for of_a_recipe in written), table


@pytest.mark.parametrize("path", sorted(CARDS.rglob("results.json")), ids=lambda path: str(path.relative_to(CARDS)))
def test_a_result_says_how_it_came_about(path):
    found = json.loads(path.read_text())
    assert re.search(r"(examples|applications)[/.]\w+", found["command"])
    assert {"python", "keras", "keras_njet", "backend"} <= set(found["versions"])
    assert re.fullmatch("[0-9a-f]{40}", found["commit"])
    assert "cores" in found["processor"]
    assert found["configuration"]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted((ROOT / "benchmarks/results").glob("*.json")) if not path.name.startswith("evaluations_")],
    ids=lambda path: path.name,
)
def test_a_benchmark_names_its_processor_and_has_no_whole_scale(path):
    """Filters are about to grow where 2σ is a whole number: a layer that learns σ is hardly ever there."""
    found = json.loads(path.read_text())
    rows = found if isinstance(found, list) else [found]
    assert rows
    assert all("cores" in row["versions"] for row in rows)
    scales = [row["sigma"] for row in rows if "sigma" in row]
    scales += [row["value"] for row in rows if row.get("varied") == "sigma"]
    assert not [sigma for sigma in scales if float(2 * sigma).is_integer()]
