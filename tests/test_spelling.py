"""Options as other programs spell them are taken, or answered with what they are called here."""

import pytest
from typer.testing import CliRunner

from gpunet.cli.app import app
from gpunet.cli.spelling import ANSWERS, ELSEWHERE, answer

PATTERN = "INPUT[4x4x1] -> FC-3"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


def test_batch_size_and_lr_are_batch_and_learning_rate(tmp_path):
    code, told = run("plan", PATTERN, "--batch-size", "7", "--device", "cpu")
    assert code == 0 and "batch 7" in told
    for number, rate in enumerate(("--lr", "--learning-rate")):
        out = tmp_path / str(number)
        code, told = run(
            "train", "INPUT[8x8x1] -> FC-10", rate, "0.003", "--epochs", "1", "--batch-size=500", "--out", str(out)
        )
        assert code == 0 and "learning_rate = 0.003" in (out / "config.toml").read_text()
    assert (tmp_path / "0/weights.safetensors").read_bytes() == (tmp_path / "1/weights.safetensors").read_bytes()


def test_an_optimizer_may_be_written_as_its_class():
    code, told = run("plan", PATTERN, "--optimizer", "AdamW", "--device", "cpu")
    assert code == 0 and "training with adamw" in told


@pytest.mark.parametrize("option", ["--quiet", "-q", "-v", "--verbose", "-V", "--config", "--num-workers"])
@pytest.mark.parametrize("command", [["train", PATTERN], ["plan", PATTERN], ["show", "curves", "x"], []])
def test_what_nothing_is_called_is_answered_in_one_sentence(command, option):
    code, told = run(*command, option)
    assert code == 2 and told == f"gpunet: there is no {option}: {ANSWERS[option]}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", PATTERN, "--gpu"], "there is no --gpu; here it is --device cuda"),
        (["train", PATTERN, "--num-epochs", "3"], "there is no --num-epochs; here it is --epochs"),
        (["eval", "x", "--dataset=cifar"], "there is no --dataset; here it is --data"),
        (["fit", PATTERN, "--memory", "6GiB"], "there is no --memory; here it is --budget"),
        (["plan", PATTERN, "-b", "64"], "there is no -b; here it is --batch"),
        (["train", PATTERN, "--optim", "adam"], "there is no --optim; here it is --optimizer"),
        (["train", PATTERN, "--wd=1e-4"], f"there is no --wd: {ANSWERS['--wd']}"),
    ],
)
def test_what_is_called_otherwise_is_answered_with_its_name(arguments, words):
    assert run(*arguments) == (2, f"gpunet: {words}\n")


def test_what_a_command_does_not_have_is_not_advised():
    code, told = run("describe", PATTERN, "--cuda")
    assert (code, told) == (2, "gpunet: there is no --cuda of gpunet describe; gpunet describe -h says more\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", PATTERN, "--epochs", "abc"], "--epochs must be an integer; got 'abc'"),
        (["train", PATTERN, "--epochs=1.5"], "--epochs must be an integer; got '1.5'"),
        (["train", PATTERN, "--epochs="], "--epochs must be an integer; got ''"),
        (
            ["plan", PATTERN, "--batch-size", "x", "--epochs"],
            "there is no --epochs of gpunet plan; gpunet plan -h says more",
        ),
        (["plan", PATTERN, "--batch-size", "x"], "--batch-size must be an integer; got 'x'"),
        (["plan", PATTERN, "--width", "half"], "--width must be a number; got 'half'"),
        (
            ["plan", PATTERN, "--dtype", "half"],
            "--dtype must be one of float32, float64, float16, bfloat16, mixed; got 'half'",
        ),
        (["eval", "x", "--split", "all"], "--split must be one of test, validation, train; got 'all'"),
        (["demo", "--seed", "-1"], "--seed must be at least 0; got '-1'"),
        (["slide", "a", "b", "--top", "0"], "--top must be at least 1; got '0'"),
        (["plan", PATTERN, "--batch"], "--batch needs a value behind it"),
        (["plan", PATTERN, "--json=yes"], "--json takes no value"),
        (["plan"], "gpunet plan needs NET; gpunet plan -h says more"),
        (["predict", "w"], "gpunet predict needs IMAGE...; gpunet predict -h says more"),
        (["show", "curves"], "gpunet show curves needs RUN...; gpunet show curves -h says more"),
        (
            ["plan", PATTERN, "more", "words"],
            "gpunet plan takes no more words; got 'more words'; gpunet plan -h says more",
        ),
        (["trian", PATTERN], "there is no command 'trian'; did you mean train?"),
        (
            ["show", "losses"],
            "there is no command 'losses'; there are curves, confusion, mistakes, filters and activations",
        ),
        (["--bogus"], "there is no --bogus of gpunet; gpunet -h says more"),
        (["plan", PATTERN, "--batc", "3"], "there is no --batc of gpunet plan; did you mean --batch?"),
        (
            ["plan", PATTERN, "--device", "tpu"],
            "there is no device 'tpu'; there are cpu, cuda, and cuda:1 for a second GPU",
        ),
    ],
)
def test_every_mistake_of_a_command_line_is_one_sentence(arguments, words):
    assert run(*arguments) == (2, f"gpunet: {words}\n")
    assert answer("--cuda", ["--width"]) is None and answer("--nonsense", ["--width"]) is None


def test_every_name_that_is_advised_is_one_of_some_command():
    known = {name for command in commands() for option in command.params for name in option.opts}
    assert {there.split()[0] for there in ELSEWHERE.values()} <= known
    assert not known & {*ANSWERS}


def commands() -> list:
    from typer.main import get_command

    top = list(get_command(app).commands.values())
    return [inner for one in top for inner in getattr(one, "commands", {"": one}).values()]
