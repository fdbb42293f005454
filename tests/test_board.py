"""What TensorBoard is told of a run, read back by TensorBoard itself."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from typer.testing import CliRunner

import gpunet
from gpunet import Learning, Model
from gpunet.cli.app import app
from gpunet.errors import ConfigError
from gpunet.optimize.optimizers import Momentum
from gpunet.report import board as boards
from gpunet.report.board import Board
from gpunet.report.board_graph import graph_event
from gpunet.report.board_settings import settings_of
from gpunet.train.trainer import Trainer
from tests.runs import BATCH, EACH, NET, StopAt, images, planned

HOW = Learning(Momentum(weight_decay=0.01), rate_factors={"fc*": 2, "*.b": 0.5})


def run(
    folder: Path | None, *, epochs: int = 2, stop: int = 0, resumed: bool = False
) -> tuple[Trainer, dict[str, Any]]:
    """The trainer of a run, and all that lasts of its model; its events in a folder, if there is one."""
    with Model(NET, device="cpu", plan=planned(HOW), learning_rate=0.02, seed=3) as model:
        trainer = Trainer(model, images(), epochs=epochs, seed=3, schedule="cosine", warmup=7)
        watchers = [Board(folder)] if folder else []
        trainer.watchers = (*watchers, StopAt(stop))
        if resumed:
            trainer.epoch, model.steps, trainer.resumed = 2, EACH, True
        try:
            trainer.run()
        except StopIteration:
            pass
        finally:
            for one in watchers:
                one.close()
        return trainer, {name: np.array(values) for name, values in model.state.items()}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, EventAccumulator, dict[str, Any]]:
    """A run, what TensorBoard read of it, and what the model had at the end."""
    folder = tmp_path_factory.mktemp("run") / "board"
    trainer, state = run(folder)
    return trainer, read(folder), state


def read(folder: Path) -> EventAccumulator:
    """All that there is, nothing left out."""
    found = EventAccumulator(str(folder), size_guidance=dict.fromkeys(("scalars", "histograms", "images"), 0))
    found.Reload()
    return found


def test_every_step_and_every_epoch_is_there(told: Any) -> None:
    trainer, found, _ = told
    for name in ("loss", "accuracy", "learning_rate", "images_per_second"):
        assert [one.step for one in found.Scalars(f"step/{name}")] == list(range(1, 2 * EACH + 1))
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate", "seconds"):
        values = {one.step: one.value for one in found.Scalars(f"epoch/{name}")}
        assert values == {row.epoch * EACH: pytest.approx(getattr(row, name), rel=1e-6) for row in trainer.rows}


def test_the_graph_is_the_nets(told: Any) -> None:
    boxes = {one.name: one for one in told[1].Graph().node}
    assert list(boxes) == ["input", *(node.name for node in NET.nodes), "labels", "loss"]
    for node in NET.nodes:
        box = boxes[node.name]
        assert (box.op, tuple(box.input)) == (node.layer.type, node.inputs)
        (shape,) = box.attr["_output_shapes"].list.shape
        assert [one.size for one in shape.dim] == [BATCH, *NET.volumes[node.name].shape]
        assert int(box.attr["parameters"].s) == NET.layer_parameters(node)
    assert boxes["conv1"].attr["K"].s == b"2" and list(boxes["loss"].input) == ["fc1", "labels"]


def test_branches_and_heads_are_in_the_graph() -> None:
    from tensorboardX.proto.graph_pb2 import GraphDef

    net = gpunet.load("googlenet").scaled(0.125, "64x64x3")
    graph = GraphDef.FromString(graph_event(net, 4).graph_def)
    boxes = {one.name: list(one.input) for one in graph.node}
    assert {name: boxes[name] for name in boxes if name in net.volumes and name != "input"} == {
        node.name: list(node.inputs) for node in net.nodes
    }
    assert all(taken in boxes for inputs in boxes.values() for taken in inputs)
    assert net.heads and all(boxes[f"{node.name}.loss"] == [node.name, "labels"] for node in net.heads)


def test_weights_and_gradients_are_histograms_of_every_epoch(told: Any) -> None:
    trainer, found, state = told
    for name in trainer.model.parameters.tensors:
        seen = {one.step: one.histogram_value for one in found.Histograms(f"weights/{name}")}
        assert list(seen) == [0, EACH, 2 * EACH]
        last = seen[2 * EACH]
        assert last.num == state[name].size and sum(last.bucket) == last.num
        assert (last.min, last.max) == (state[name].min(), state[name].max())
        assert last.sum == pytest.approx(state[name].astype(float).sum(), rel=1e-6, abs=1e-6)
    learnt = {p.tensor.name for p in trainer.model.plan.program.parameters if p.gradient}
    tags = {tag for tag in found.Tags()["histograms"] if tag.startswith("gradients/")}
    assert tags == {f"gradients/{name}" for name in learnt}
    with Model(NET, device="cpu", plan=planned(HOW), seed=3) as model:
        expected = model.gradients(*trainer.data.train.take(np.arange(BATCH)))
    for name, values in expected.items():
        first = found.Histograms(f"gradients/{name}")[0].histogram_value
        assert (first.min, first.max) == (values.min(), values.max())


def test_images_and_filters_are_pictures(told: Any) -> None:
    trainer, found, _ = told
    assert found.Tags()["images"] == ["images/train", "filters/conv1"]
    (shown,) = found.Images("images/train")
    picture = np.asarray(Image.open(BytesIO(shown.encoded_image_string)))
    assert picture.shape == (shown.height, shown.width, 3)
    assert [one.step for one in found.Images("filters/conv1")] == [0, EACH, 2 * EACH]
    taken = trainer.data.train.take(np.arange(16))[0][..., 0].astype(float)
    first = (taken[0] - taken.min()) / (taken.max() - taken.min()) * 255
    assert np.abs(picture[3:39:9, 3:39:9, 0] - first).max() <= 1  # 9 pixels a side for each, behind a gap of 3


def plugin(found: EventAccumulator, tag: str) -> Any:
    return HParamsPluginData.FromString(found.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)


def test_settings_are_what_runs_are_compared_by(told: Any) -> None:
    trainer, found, _ = told
    start = plugin(found, "session_start_info").session_start_info.hparams
    said = {
        name: value.WhichOneof("kind") and getattr(value, value.WhichOneof("kind")) for name, value in start.items()
    }
    assert said == settings_of(trainer)
    assert said["optimizer"] == "momentum" and said["weight_decay"] == 0.01 and said["learning_rate"] == 0.02
    assert said["rate_factors"] == "fc* 2.0, *.b 0.5" and said["schedule"] == "cosine" and said["warmup_steps"] == 7
    metrics = [one.name.tag for one in plugin(found, "experiment").experiment.metric_infos]
    assert metrics == [f"epoch/{name}" for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy")]
    assert set(metrics) < set(found.Tags()["scalars"])
    assert plugin(found, "session_end_info").session_end_info.status == 1  # success


def test_the_bits_of_a_run_are_those_without_it(told: Any) -> None:
    _, plain = run(None)
    assert plain.keys() == told[2].keys()
    assert all(plain[name].tobytes() == told[2][name].tobytes() for name in plain)


def test_a_run_that_goes_on_is_told_on_and_nothing_twice(tmp_path: Path) -> None:
    run(tmp_path / "board", stop=EACH + 4)
    assert not any(tag == "_hparams_/session_end_info" for tag in read(tmp_path / "board").summary_metadata)
    run(tmp_path / "board", resumed=True)
    assert len(list((tmp_path / "board").iterdir())) == 2  # also within one second
    found = read(tmp_path / "board")
    assert [one.step for one in found.Scalars("step/loss")] == list(range(1, 2 * EACH + 1))
    assert [one.step for one in found.Histograms("weights/fc1.w")] == [0, EACH, 2 * EACH]
    assert len(found.Images("images/train")) == 1
    assert plugin(found, "session_end_info").session_end_info.status == 1


def test_of_large_tensors_values_at_equal_distances_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "MOST_VALUES", 10)
    run(tmp_path / "board", epochs=1)
    found = read(tmp_path / "board")
    assert found.Histograms("weights/fc1.w")[0].histogram_value.num == 10  # of 96
    assert found.Histograms("weights/conv1.b")[0].histogram_value.num == 2


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    with Model(NET, device="cpu", plan=planned()) as model:
        trainer = Trainer(model, images(), epochs=1)
        model.parameters["conv1.b"] = np.array([np.nan, 1])
        board.started(trainer)
    board.close()
    tags = read(tmp_path / "board").Tags()["histograms"]
    assert "weights/conv1.b" not in tags and "weights/conv1.w" in tags


def test_without_tensorboardx_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    result = CliRunner().invoke(app, ["train", "vgg_digits", "--device", "cpu", "--tensorboard"])
    assert result.exit_code == ConfigError.exit_code and result.stdout == ""
    assert '--tensorboard needs tensorboardX: pip install "gpunet[tensorboard]"' in result.stderr
    assert list(tmp_path.iterdir()) == []
