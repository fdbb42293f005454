"""How people name devices, and that each name means the same everywhere: Model, plan, the command line."""

from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import gpunet
from gpunet import ConfigError, Model
from gpunet.cli.app import app
from gpunet.devices import device_name, open_device, target
from gpunet.devices.cuda import device as cuda_device
from gpunet.devices.cuda import reserve
from gpunet.devices.name import kind_of, split_name
from gpunet.model.making import choose_device
from tests.emulator.driver import EmulatorDriver
from tests.nets import blocks


@pytest.mark.parametrize(
    ("name", "parts", "same"),
    [
        ("cpu", ("cpu", 0), "cpu"),
        ("cuda", ("cuda", 0), "cuda"),
        ("cuda:0", ("cuda", 0), "cuda"),
        ("cuda:1", ("cuda", 1), "cuda:1"),
        ("cuda:12", ("cuda", 12), "cuda:12"),
    ],
)
def test_a_name_is_a_kind_and_a_number(name: str, parts: tuple[str, int], same: str) -> None:
    assert split_name(name) == parts and kind_of(name) == parts[0]
    assert device_name(name) == choose_device(name) == same
    made = gpunet.plan(blocks(), 2, device=name)
    assert made.device == same
    assert made.arena_bytes == gpunet.plan(blocks(), 2, device=parts[0]).arena_bytes


@pytest.mark.parametrize(
    "name", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "cuda:1.5", "cuda:1000", "cuda:\u0661", "cuda 1"]
)
def test_what_names_no_device_is_told_with_the_names_there_are(name: str) -> None:
    for use in (device_name, target, open_device, choose_device):
        with pytest.raises(
            ConfigError, match=r"there is no device .*; there are cpu, cuda, and cuda:1 for a second GPU"
        ):
            use(name)


@pytest.mark.parametrize("device", [0, None, b"cpu"])
def test_what_is_no_text_names_no_device_either(device: object) -> None:
    with pytest.raises(ConfigError, match=r"there is no device .*; there are cpu, cuda"):
        gpunet.plan(gpunet.load("vgg_digits"), 2, device=device)  # type: ignore[arg-type]


def test_there_is_but_one_cpu() -> None:
    with pytest.raises(ConfigError, match="there is but one cpu: say cpu, not cpu:1"):
        Model(blocks(), 2, "cpu:1")


def test_a_model_on_the_second_gpu_opens_that(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def driver(number: int) -> EmulatorDriver:
        opened.append(number)
        return EmulatorDriver()

    monkeypatch.setattr("gpunet.devices.cuda.driver.CupyDriver", driver)
    for name in ("cuda:1", "cuda:0", "cuda"):
        with Model(blocks(), 2, name) as model:
            assert model.device.name == model.plan.device == device_name(name)
    assert opened == [1, 0, 0]
    assert cuda_device.open_device(2).name == "cuda:2"


def test_the_target_of_a_gpu_asks_for_that_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "hardware", lambda number=0: f"Card {number}, driver 580.65")
    assert [target(name).hardware() for name in ("cuda", "cuda:0", "cuda:3")] == [
        f"Card {number}, driver 580.65" for number in (0, 0, 3)
    ]


@pytest.mark.parametrize("command", ["plan", "fit", "profile", "train", "gradcheck"])
def test_every_command_takes_such_names_and_refuses_others_in_a_sentence(command: str) -> None:
    result = CliRunner().invoke(app, [command, "vgg_digits", "--device", "cuda:one"])
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("gpunet: there is no device 'cuda:one'") and len(result.stderr.splitlines()) == 1


def test_a_plan_for_the_second_gpu_says_so() -> None:
    result = CliRunner().invoke(app, ["plan", "vgg_digits", "--device", "cuda:1"])
    assert result.exit_code == 0
    assert "on cuda:1" in result.stdout.splitlines()[0] and "the CUDA context with its kernels" in result.stdout


def test_free_memory_is_that_of_the_device_that_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpunet.cli import options

    probe = SimpleNamespace(asked=[])
    monkeypatch.setattr("gpunet.devices.cuda.probe.free_bytes", lambda number=0: probe.asked.append(number) or 5)
    monkeypatch.setattr("gpunet.devices.cpu.probe.free_bytes", lambda: 7)
    assert options.free_bytes("cuda:2") == {"cuda:2": 5}
    assert options.free_bytes("auto") == {"cpu": 7, "cuda": 5}
    assert probe.asked == [2, 0]
