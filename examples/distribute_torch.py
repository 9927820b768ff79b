"""Trains on several devices with torch: a process for each, with the weights and a part of every batch.

    KERAS_BACKEND=torch python distribute_torch.py

Two processes are started, or as many as the argument says, on the processor; with a GPU for each, move the model and
the batches to `cuda:{rank}` and use the backend "nccl". The loop prints the loss of each epoch; the model is saved in
distributed.keras, for any number of devices.
"""

import sys

import keras
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import keras_njet


def train(rank, count, port):
    """The work of one process."""
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=rank, world_size=count)
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images[:512].reshape(-1, 8, 8, 1) / 16.0, np.ones((1, 2, 2, 1))).astype("float32")
    data = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels[:512]))
    loader = DataLoader(data, batch_size=64 // count, sampler=DistributedSampler(data, count, rank, shuffle=False))

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras_njet.NJetConv2D(8, subsample_rate=4.0, activation="relu", data_format="channels_last"),
            keras_njet.NJetConv2D(16, activation="relu", data_format="channels_last"),
            keras.layers.GlobalMaxPooling2D(data_format="channels_last"),
            keras.layers.Dense(10),
        ]
    )
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    # Without weight decay; with it, σ needs a group of its own (docs/training_loops.md).
    optimizer = torch.optim.SGD(parallel.parameters(), lr=0.1)
    for epoch in range(1, 5):
        losses = []
        for x, y in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(parallel(x, training=True), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        torch.distributed.all_reduce(mean)
        if rank == 0:
            print(f"{count} device(s), epoch {epoch}: loss {float(mean) / count:.7f}")
    if rank == 0:
        model.save("distributed.keras")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    port = 29500 + np.random.default_rng().integers(1000)
    torch.multiprocessing.spawn(train, args=(count, port), nprocs=count)
