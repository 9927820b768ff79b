"""Evaluates trained segmentation networks on the same test images, and on more of them than their trainings did.

    python -m applications.evaluate_segmentation RUN [RUN ...] --data-dir DIR

A RUN is a folder that train_segmentation wrote, with its model.weights.h5. The images of multi-scale Fashion-MNIST are
made from its test images with a seed that no training has, so that what differs between seeds of a network comes from
its training alone. Writes into --out: table.md and results.json (the mean IoU of each run).
"""

import json
import pathlib

from applications import _results, _tables, compare_trainings, train_segmentation
from applications._arguments import ArgumentParser

SEED = 1000  # of the test images; those of trainings are 0, 1, ...


def main():
    _results.main(parse_arguments(), measure, report)


def parse_arguments(given=None):
    parser = ArgumentParser("evaluate_segmentation", __doc__)
    parser.add_argument("given", nargs="+", type=pathlib.Path, metavar="RUN", help="folders of trained networks")
    parser.add_argument("--test-images", type=int, default=500, help="default: %(default)s")
    return parser.read(given)


def measure(arguments):
    """The mean IoU of each run, on the images that all have and on those that its training had."""
    import keras_njet

    rows = []
    for run in arguments.given:
        results = json.loads((run / "results.json").read_text())
        others = {"seed": SEED, "test_images": arguments.test_images, "data_dir": arguments.data_dir}
        model, test_set, chosen = train_segmentation.trained(run, **others)
        metrics = [train_segmentation.mean_iou(model.output_shape[-1], chosen.dataset)]
        model.compile(loss=keras_njet.SegmentationCrossentropy(), metrics=metrics)
        rows.append(
            {
                "network": train_segmentation.label(chosen),
                "seed": results["configuration"]["seed"],
                "miou": model.evaluate(test_set, verbose=0, return_dict=True)["miou"],
                "miou_of_its_training": results["metrics"]["test_miou"],
            }
        )
        print("  {network}, seed {seed}: {miou:.3f}".format(**rows[-1]), flush=True)
    return {"runs": rows}


def report(results, folder):
    (folder / "table.md").write_text(format_table(results))


def format_table(results):
    lines = []
    for network, rows in compare_trainings.networks(results).items():
        means = [_tables.mean_std([row[name] for row in rows]) for name in ("miou", "miou_of_its_training")]
        lines.append([network, ", ".join(f"{row['miou']:.3f}" for row in rows), *means])
    count = results["configuration"]["test_images"]
    heads = ["network", f"mIoU on {count} images, each seed", "mean", "mean, each on the images of its training"]
    return f"{_tables.markdown(heads, lines)}\n{_tables.footnote(results)}"


if __name__ == "__main__":
    main()
