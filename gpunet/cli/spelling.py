"""Options as other programs spell them: what they are called here."""

from collections.abc import Collection

ELSEWHERE = {
    "--bs": "--batch",
    "-b": "--batch",
    "-e": "--epochs",
    "--max-epochs": "--epochs",
    "--num-epochs": "--epochs",
    "--dataset": "--data",
    "--data-dir": "--data",
    "--gpu": "--device cuda",
    "--cuda": "--device cuda",
    "--cpu": "--device cpu",
    "--scheduler": "--schedule",
    "--lr-scheduler": "--schedule",
    "--grad-clip": "--clip-norm",
    "--output": "--out",
    "--output-dir": "--out",
    "-o": "--out",
    "--memory": "--budget",
    "--checkpoint": "--resume",
    "--continue": "--resume",
    "--pretrained": "--weights",
    "--num-classes": "--classes",
    "--precision": "--dtype",
    "--amp": "--dtype mixed",
    "--mixed-precision": "--dtype mixed",
    "--half": "--dtype mixed",
    "--fp16": "--dtype float16",
    "--bf16": "--dtype bfloat16",
    "--opt": "--optimizer",
    "--optim": "--optimizer",
    "--random-seed": "--seed",
    "--img-size": "--size",
    "--image-size": "--size",
}
"""What people type, and what it is here."""

ANSWERS = {
    "--quiet": "off a terminal a run says a line an epoch, and > /dev/null silences that",
    "--silent": "off a terminal a run says a line an epoch, and > /dev/null silences that",
    "-q": "off a terminal a run says a line an epoch, and > /dev/null silences that",
    "--verbose": "all there is to say is said anyway, --json has every figure, and --version the version",
    "-v": "all there is to say is said anyway, --json has every figure, and gpunet --version the version",
    "-V": "gpunet --version shows the version",
    "--config": "a config is an argument and no option: gpunet train my.toml",
    "-c": "a config is an argument and no option: gpunet train my.toml",
    "--momentum": "settings of an optimizer stand under [train] in a config: momentum = 0.9",
    "--weight-decay": "settings of an optimizer stand under [train] in a config: weight_decay = 5e-4",
    "--wd": "settings of an optimizer stand under [train] in a config: weight_decay = 5e-4",
    "--workers": "pictures are read by as many threads as there are cores",
    "--num-workers": "pictures are read by as many threads as there are cores",
}
"""What people type and nothing is called: what there is in its place."""


def answer(option: str, known: Collection[str]) -> str | None:
    """What to say of an option that a command with the `known` ones does not have; None where nothing fits."""
    there = ELSEWHERE.get(option)
    if there is not None and there.split()[0] in known:
        return f"there is no {option}; here it is {there}"
    return f"there is no {option}: {ANSWERS[option]}" if option in ANSWERS else None
