"""What people write, and what a type checker must find nothing wrong with."""

from collections.abc import Iterator
from typing import assert_type

import numpy as np

import gpunet
from gpunet.data import digits

net = gpunet.load("vgg_digits")
plan = gpunet.plan(net, batch=8, device="cpu", optimizer="Adam", dtype="float64", mode="train", ways=["recompute"])
assert_type(plan, gpunet.Plan)
found = gpunet.fit(net, "6GiB", device="cuda", optimizer=gpunet.Adam(beta1=0.8), max_cost=0, reserve="512MiB")
assert_type(found.batch, int)
head = gpunet.Learning("momentum", freeze=["conv*"], decay="weights")
model = gpunet.Model(net, 8, "auto", optimizer=head, learning_rate=lambda step: 0.1 / (1 + step))
model.learning_rate = 0.05
model.learning_rate = lambda step: 0.05
assert_type(model.learning_rate, float)
images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.zeros(20, np.int64)


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield images, labels


def stops(progress: gpunet.Progress) -> bool:
    return progress.loss < 0.1


def says(row: gpunet.EpochMetrics) -> None:
    print(row.val_accuracy)


histories: list[gpunet.History] = [model.fit(images, labels, on_step=stops, on_epoch=says)]
for history in (
    *histories,
    model.fit(images, labels),
    model.fit((images, labels), epochs=3, schedule="cosine", validation=(images, labels)),
    model.fit(batches(), steps_per_epoch=1, on_step=lambda progress: progress.loss < 0.1),
    model.fit(digits(), on_epoch=lambda row: row.train_accuracy > 0.9, progress=False),
):
    assert_type(history.epochs[0].train_loss, float)
    history.plot().savefig("curves.png")
print(plan, plan.table(), plan.to_json(), model, gpunet.describe(net).to_dict())
model.predict(images).sum()
loss, correct = model.evaluate(digits().test)
assert_type((loss, correct), tuple[float, int])
model.save("model.safetensors")
assert_type(gpunet.Model.load("model.safetensors", device="cpu"), gpunet.Model)
