"""A run that was stopped goes on bit for bit, whenever that was; and only with what it was begun with."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpunet import Learning, Model
from gpunet.compile.ways import Ways
from gpunet.data import Split
from gpunet.data.folder import FileSplit
from gpunet.devices.cpu import threads
from gpunet.devices.cuda.device import CudaDevice
from gpunet.errors import ConfigError, DataError
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.optimize.schedules import Plateau, Step
from gpunet.train import resume as resuming
from gpunet.train.checkpoint import BEST, LAST, PREVIOUS, read
from gpunet.train.environment import environment
from gpunet.train.resume import fingerprint, resume
from gpunet.train.trainer import Trainer
from tests.conftest import make_device
from tests.emulator.driver import EmulatorDriver
from tests.runs import BATCH, EACH, EPOCHS, NET, augmented, images, last, measured, planned, train
from tests.test_ways import planned as planned_in

STEPS = EACH * EPOCHS


@pytest.fixture(autouse=True, scope="module")
def _without_waiting() -> Iterator[None]:
    """Hundreds of runs, each with dozens of files; and their ops are too small for two threads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(threads, "thread_count", lambda: 1)
        yield


@pytest.mark.parametrize(
    "optimizer", [name if name == "adam" else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS]
)
def test_a_run_stopped_after_any_step_ends_in_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    made = planned(optimizer)
    whole = train(tmp_path / "whole", made)
    rows = measured(tmp_path / "whole")
    assert len(rows) == EPOCHS + STEPS
    assert train(tmp_path / "copied", made, copies=True) == whole
    for step in range(1, STEPS + 1):
        folder = tmp_path / f"after-{step}"
        assert read(folder / LAST).state["trainer"]["steps"] == step
        assert train(folder, made, go_on=True) == whole, f"stopped after step {step}"
        assert measured(folder) == rows, f"stopped after step {step}"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_stopped_after_every_step_ends_in_the_same_bits(tmp_path: Path, optimizer: str) -> None:
    made = planned(optimizer)
    whole = train(tmp_path / "whole", made)
    for step in range(1, STEPS + 2):
        ended = train(tmp_path / "chain", made, stop=step, go_on=step > 1)
    assert ended == whole and measured(tmp_path / "chain") == measured(tmp_path / "whole")


@pytest.mark.parametrize(
    "schedule", [Plateau(wait=0, factor=0.5), Step(every=2), "constant"], ids=["plateau", "step", "constant"]
)
def test_schedules_go_on_where_they_were(tmp_path: Path, schedule: Any) -> None:
    made = planned()
    whole = train(tmp_path / "whole", made, schedule=schedule)
    rates = {row["learning_rate"] for row in measured(tmp_path / "whole")}
    assert len(rates) == {"constant": 7, "step": 8}.get(getattr(schedule, "name", schedule), 9)
    for step in (7, 25, 45, 59):
        train(tmp_path / str(step), made, stop=step, schedule=schedule)
        assert train(tmp_path / str(step), made, go_on=True, schedule=schedule) == whole
        assert measured(tmp_path / str(step)) == measured(tmp_path / "whole")


HOWS = {
    "clipping": Learning("adam", clip_norm=0.05, clip_value=0.1),
    "frozen": Learning("momentum", freeze="conv1", rate_factors={"fc1": 2, "bn1.shift": 3}, decay="weights"),
}


@pytest.mark.parametrize("how", HOWS)
def test_however_parameters_learn_a_stopped_run_ends_in_the_same_bits(tmp_path: Path, how: str) -> None:
    made = planned(HOWS[how])
    whole = train(tmp_path / "whole", made)
    for step in (7, 15, 32):
        train(tmp_path / "chain", made, stop=step, go_on=step > 7)
    assert train(tmp_path / "chain", made, go_on=True) == whole


def test_on_the_cuda_device_a_stopped_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    with closing(make_device("emulated")) as device:
        made = planned("adam", device="cuda")
        whole = train(tmp_path / "whole", made, device=device, epochs=2)
        for step in (8, 15):
            train(tmp_path / "chain", made, device=device, epochs=2, stop=step, go_on=step > 8)
        assert train(tmp_path / "chain", made, device=device, epochs=2, go_on=True) == whole


def test_what_changes_the_last_bits_is_told_and_no_reason_to_refuse(tmp_path: Path) -> None:
    net = augmented("INPUT[4x4x1] -> CONV3-2 -> RELU -> FC-3")
    train(tmp_path, planned(net=net), net=net, stop=4)
    rounds = planned_in(net, BATCH, "cpu", Ways(300, micro_batch=2))
    for made, place, words in (
        (planned(net=net), "cpu", []),
        (
            planned(net=net, device="cuda"),
            "emulated",
            ["device: cpu", "scratch: at most 8 MiB", "convolutions: im2col"],
        ),
        (rounds, "cpu", ["rounds: none in the checkpoint, all of 2 images now", "scratch: at most 8 MiB"]),
    ):
        with (
            closing(make_device(place)) as device,
            Model(net, device=device, seed=3, learning_rate=0.02, plan=made) as model,
        ):
            trainer = Trainer(model, images(), epochs=EPOCHS, seed=3, schedule="cosine", warmup=7)
            found = resume(trainer, last(tmp_path))
        assert len(found) == len(words) and all(map(str.startswith, found, words)), found


def test_another_gpu_or_another_cublas_is_told_as_what_changes_the_last_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not which number the GPU has: the same kind of GPU with the same libraries makes the same bits."""
    names = ["NVIDIA A, driver 580.65"] * 2
    monkeypatch.setattr(resuming, "cuda_hardware", lambda number=0: names[number])
    facts = {"multiprocessors": "28", "NVRTC": "12.9", "cuBLAS": "12.9.1"}
    made = planned(device="cuda")
    monkeypatch.setattr(EmulatorDriver, "arithmetic", lambda driver: facts)
    with closing(make_device("emulated")) as device:
        about = environment(device)
        assert (about["device"], about["arithmetic"]) == ("cuda", facts)
        train(tmp_path, made, device=device, stop=4)
    assert resumed(tmp_path, made) == resumed(tmp_path, made, number=1) == []
    facts = {**facts, "multiprocessors": "30", "cuBLAS": "13.0.2"}
    assert resumed(tmp_path, made) == [
        "arithmetic: multiprocessors 28, NVRTC 12.9, cuBLAS 12.9.1 in the checkpoint, "
        "multiprocessors 30, NVRTC 12.9, cuBLAS 13.0.2 now"
    ]
    names[1] = "NVIDIA B, driver 580.65"
    assert resumed(tmp_path, made, number=1)[0] == (
        "device: cuda, NVIDIA A, driver 580.65 in the checkpoint, cuda, NVIDIA B, driver 580.65 now"
    )


def resumed(folder: Path, made: Any, number: int = 0) -> list[str]:
    """What differs where the run in a folder goes on on that emulated GPU."""
    device = CudaDevice(EmulatorDriver(), number)
    with closing(device), Model(NET, device=device, seed=3, learning_rate=0.02, plan=made) as model:
        trainer = Trainer(model, images(), epochs=EPOCHS, seed=3, schedule="cosine", warmup=7)
        return resume(trainer, last(folder))


def test_rows_beyond_the_checkpoint_are_cut_and_half_a_row_too(tmp_path: Path) -> None:
    made = planned()
    whole = train(tmp_path / "whole", made)
    train(tmp_path / "a", made, stop=13)
    with (tmp_path / "a/steps.csv").open("a") as file:
        file.write("14,1,9.0,1.0,0.5,1.0\n15,1,9.0,1.0,0.5,1.0\n16,2,9.")
    with (tmp_path / "a/metrics.csv").open("a") as file:
        file.write("1,9.0,1.0,9.0,1.0,1.0,0.5,1.0\n")
    (tmp_path / "a/.last.safetensors.1234.part").write_bytes(b"half")
    assert train(tmp_path / "a", made, go_on=True) == whole
    assert measured(tmp_path / "a") == measured(tmp_path / "whole")
    assert not list((tmp_path / "a").glob(".*"))


def test_more_epochs_may_be_asked_for_but_for_a_cosine(tmp_path: Path) -> None:
    made = planned()
    train(tmp_path / "a", made, epochs=2, schedule="constant")
    assert train(tmp_path / "a", made, go_on=True, epochs=4, schedule="constant") == train(
        tmp_path / "b", made, epochs=4, schedule="constant"
    )
    train(tmp_path / "c", made, epochs=2)
    with pytest.raises(ConfigError, match=r"schedule: Cosine.*, 2 epochs in the checkpoint, .* 4 epochs now"):
        train(tmp_path / "c", made, go_on=True, epochs=4)


def test_the_best_epoch_has_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    train(tmp_path, planned())
    rows = [row for row in measured(tmp_path) if "test_accuracy" in row]
    best = max(rows, key=lambda row: (float(row["test_accuracy"]), -float(row["test_loss"])))
    kept = read(tmp_path / BEST)
    assert kept.state["trainer"]["rows"][-1]["epoch"] == int(best["epoch"])
    data = images()
    with Model(NET, BATCH, "cpu") as model:
        kept.restore(model)
        losses = [model.evaluate(data.test.images[[i]], data.test.labels[[i]])[0] for i in range(4)]
    assert sum(losses) / 4 == pytest.approx(float(best["test_loss"]), rel=1e-6)


# -- with something else ---------------------------------------------------------------------------


def changed(split: Split, what: str) -> Split:
    if what == "pixels":
        return Split(split.images ^ 1, split.labels)
    if what == "labels":
        return Split(split.images, (split.labels + 1) % 3)
    return Split(split.images[:-2], split.labels[:-2])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OTHER_NET = augmented("INPUT[4x4x1] -> CONV3-3 -> BN -> RELU -> DROPOUT(p=0.25) -> FC-3")
OTHER_WINDOWS = augmented("INPUT[4x4x1] -> CONV3-2 -> BN -> RELU -> DROPOUT -> FC-3", pad=2)
OTHERS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "batch": (lambda: {"made": planned(batch=6)}, "  batch: 3 in the checkpoint, 6 now\n"),
    "optimizer": (lambda: {"made": planned("adam")}, r"  optimizer: momentum\(.*momentum=0.9\) in.*, adam\(.*\) now\n"),
    "seed": (lambda: {"seed": 4}, "  seed: 3 in the checkpoint, 4 now\n"),
    "learning rate": (lambda: {"rate": 0.01}, "  learning rate: 0.02 in the checkpoint, 0.01 now\n"),
    "warm-up": (lambda: {"warmup": 3}, "  warm-up: 7 steps in the checkpoint, 3 steps now\n"),
    "schedule": (
        lambda: {"schedule": "constant"},
        r"  schedule: Cosine\(.*\), 4 epochs in the checkpoint, Constant\(\) now\n",
    ),
    "net": (
        lambda: {"made": planned(net=OTHER_NET), "net": OTHER_NET},
        r"  layer conv1: Conv\(K=2.* in the checkpoint, Conv\(K=3.* now\n  layer dropout1: .*0.5.*, .*0.25.*now\n",
    ),
    "augmentation": (
        lambda: {"made": planned(net=OTHER_WINDOWS), "net": OTHER_WINDOWS},
        r"  augmentation: .*pad=1, .* in the checkpoint, .*pad=2, .* now\n",
    ),
    "shorter": (
        lambda: {"data": replace(images(), train=changed(images().train, "length"))},
        r"  data to learn from: 44 images of 4x4x1, .* in the checkpoint, 42 images .* now\n",
    ),
    "pixels": (
        lambda: {"data": replace(images(), test=changed(images().test, "pixels"))},
        r"  data to test on: 4 images .* sha256 \w+ in the checkpoint, 4 images of 4x4x1, uint8, sha256 \w+ now\n",
    ),
    "labels": (
        lambda: {"data": replace(images(), train=changed(images().train, "labels"))},
        r"  data to learn from: 44 images .* now\n",
    ),
    "names": (
        lambda: {"data": replace(images(), classes=("a", "b", "c"))},
        "  classes: not there in the checkpoint, a, b, c now\n",
    ),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(folder, planned(), stop=18)
    return folder


@pytest.mark.parametrize("name", OTHERS)
def test_going_on_with_something_else_is_refused_and_nothing_is_overwritten(stopped: Path, name: str) -> None:
    make, words = OTHERS[name]
    before = contents(stopped)
    options = {"made": planned()} | make()
    with pytest.raises(ConfigError, match=words) as caught:
        train(stopped, options.pop("made"), go_on=True, **options)
    way_out = "bring back the data" if name in ("shorter", "pixels", "labels", "names") else "give --resume alone"
    assert way_out in str(caught.value)
    assert len(str(caught.value).splitlines()) == (4 if name == "net" else 3)
    assert contents(stopped) == before


def test_a_checkpoint_of_another_net_changes_nothing_in_a_model(stopped: Path) -> None:
    with Model(OTHER_NET, BATCH, "cpu") as model:
        before = {name: values.tobytes() for name, values in model.state.items()}
        with pytest.raises(DataError, match=r"another net than .*: bn1\.\w+ is \[2\], not \[3\]"):
            last(stopped).restore(model)
        assert {name: values.tobytes() for name, values in model.state.items()} == before


def test_a_fingerprint_sees_a_change_in_any_label_and_any_image(rng: np.random.Generator) -> None:
    pixels, labels = rng.integers(0, 256, (3000, 2, 2, 1), np.uint8), rng.integers(0, 3, 3000)
    first = fingerprint(Split(pixels, labels))
    for index in rng.integers(0, 3000, 20):
        other = labels.copy()
        other[index] += 1
        assert fingerprint(Split(pixels, other)) != first
        changed = pixels.copy()
        changed[index, 1, 0] ^= 1
        assert fingerprint(Split(changed, labels)) != first
    assert fingerprint(Split(pixels[::-1], labels)) != first
    assert fingerprint(Split(pixels.copy(), labels.astype(np.uint8))) == first


def test_a_fingerprint_of_files_sees_any_name_and_size(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:03}.png" for number in range(400)]
    for path in paths:
        Image.new("RGB", (2, 2)).save(path)
    first = fingerprint(FileSplit(tuple(paths), (0, 1) * 200, (2, 2)))
    paths[201].write_bytes(paths[201].read_bytes() + b"\0")
    longer = fingerprint(FileSplit(tuple(paths), (0, 1) * 200, (2, 2)))
    paths[203] = paths[203].rename(tmp_path / "other.png")
    assert len({first, longer, fingerprint(FileSplit(tuple(paths), (0, 1) * 200, (2, 2)))}) == 3


# -- damage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "gone"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(stopped: Path, tmp_path: Path, damage: str) -> None:
    from gpunet.train.checkpoint import latest

    copytree(stopped, tmp_path / "run")
    path = tmp_path / "run" / LAST
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 16
    damaged = {"cut": bytes(content[:-1]), "empty": b"", "flipped": bytes(content)}.get(damage)
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    found, wrong = latest(tmp_path / "run")
    assert found.path.name == PREVIOUS and found.state["trainer"]["steps"] == 15
    told = [f"{path} is cut short or damaged: its checksum is not that of its content"]
    assert wrong == ([] if damage == "gone" else told)
    made = planned()
    assert train(tmp_path / "run", made, go_on=True) == train(tmp_path / "whole", made)
    if damaged is not None:
        assert path.with_name(f"{LAST}.damaged").read_bytes() == damaged


def test_every_flipped_bit_and_every_cut_is_seen(stopped: Path, tmp_path: Path) -> None:
    content = (stopped / LAST).read_bytes()
    path = tmp_path / "c"
    for at in range(0, 8 * len(content), 37):  # 37 and 8 share no factor: every bit of a byte is flipped somewhere
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        path.write_bytes(flipped)
        with pytest.raises(DataError, match=re.escape(str(path))):
            read(path)
    for length in range(0, len(content), 41):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="cut short or damaged"):
            read(path)


def test_without_a_whole_checkpoint_there_is_nothing_to_go_on_from(stopped: Path, tmp_path: Path) -> None:
    copytree(stopped, tmp_path / "run")
    for name in (LAST, PREVIOUS):
        (tmp_path / "run" / name).write_bytes(b"no")
    with pytest.raises(DataError, match=rf"(?s){LAST} is cut.*{PREVIOUS} is cut.*holds no checkpoint that could be"):
        last(tmp_path / "run")
    best = re.escape(str(tmp_path / "run" / BEST))
    assert re.search(rf"{best} is whole, .*gpunet train --weights {best}$", words_of(tmp_path / "run"))
    (tmp_path / "run" / BEST).unlink()
    assert BEST not in words_of(tmp_path / "run")
    with pytest.raises(DataError, match="holds no checkpoint: the run was stopped before its first; remove that"):
        last(tmp_path)


def words_of(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        last(folder)
    return str(caught.value)


def test_a_file_with_a_right_checksum_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    from hashlib import sha256

    from safetensors.numpy import save

    def with_checksum(metadata: dict[str, str] | None) -> bytes:
        """A safetensors file whose last tensor is the checksum of what stands before it."""
        whole = save({"a.w": np.zeros(8, np.uint8), "sha256": np.zeros(32, np.uint8)}, metadata)
        return whole[:-32] + sha256(whole[:-32]).digest()

    for content, words in (
        (b"hello" + sha256(b"hello").digest(), "is no checkpoint of gpunet"),
        (with_checksum(None), "is no checkpoint of gpunet"),
        (with_checksum({"gpunet": "{"}), "is no checkpoint of gpunet"),
        (with_checksum({"gpunet": json.dumps({"format": 2})}), "is a checkpoint of format 2; this gpunet reads 1"),
    ):
        (tmp_path / "c").write_bytes(content)
        with pytest.raises(DataError, match=words):
            read(tmp_path / "c")
