"""Mistakes of a command line in one sentence each: typer's own words are a box, and do not show what was typed.

Which class an error has, typer keeps to itself, and it differs from version to version: its name and its words tell.
"""

import re
from collections.abc import Sequence
from typing import Any

from gpunet.cli.spelling import answer
from gpunet.net.words import listed, nearest
from gpunet.values.given import told
from gpunet.values.visible import visible


def usage_words(error: Any, words: Sequence[str]) -> str | None:
    """What is wrong with a command line of these words, in one sentence; None where the error is no such mistake."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "UsageError" not in kinds:
        return None
    if "NoSuchOption" in kinds:
        return _no_such_option(error)
    if "MissingParameter" in kinds:
        return f"{_command(error)} needs {_called(error.param)}{_more(error)}"
    if "BadParameter" in kinds:
        return _bad_value(error, words)
    message = str(error.message)
    if found := re.search(r"[Nn]o such command '(.*?)'", message):
        return _no_such_command(error, found[1])
    if found := re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", message):
        return f"{_command(error)} takes no more words; got {told(found[1])}{_more(error)}"
    if found := re.search(r"'?(-[\w-]+)'?.*(requires an argument|does not take a value)", message):
        needs = "needs a value behind it" if found[2].startswith("requires") else "takes no value"
        return f"{found[1]} {needs}"
    return f"{message[:1].lower()}{message[1:].rstrip('.')}{_more(error)}"


def _bad_value(error: Any, words: Sequence[str]) -> str:
    """ "--epochs must be an integer; got 'abc'"."""
    message = str(error.message)
    if error.param is None:
        return f"{message[:1].lower()}{message[1:]}"
    option, value = _typed(error.param, words)
    got = "" if value is None else f"; got {told(value)}"
    if found := re.search(r"valid (integer|number|float|boolean)", message):
        wanted = {"integer": "an integer", "boolean": "true or false"}.get(found[1], "a number")
    elif found := re.search(r"not one of (.*?)\.?$", message, re.DOTALL):
        choices = re.findall(r"[\w-]+", found[1])
        wanted = f"one of {', '.join(choices)}"
    elif found := re.search(r"(greater|less) than or equal to (\S+?)\.?$", message):
        wanted = f"{'at least' if found[1] == 'greater' else 'at most'} {found[2]}"
    else:
        return f"{option}: {message[:1].lower()}{message[1:].rstrip('.')}{got}"
    return f"{option} must be {wanted}{got}"


def _typed(param: Any, words: Sequence[str]) -> tuple[str, str | None]:
    """How the option was typed, and the value behind it, the last time that it was; None where that is not known."""
    found: tuple[str, str | None] = _called(param), None
    for at, word in enumerate(words):
        name, sign, value = word.partition("=")
        if name in param.opts and name.startswith("-"):
            found = name, (value if sign else words[at + 1] if at + 1 < len(words) else None)
    return found


def _no_such_option(error: Any) -> str:
    options = [name for option in error.ctx.command.params for name in option.opts] if error.ctx else []
    if known := answer(error.option_name, options):
        return known
    long = [name.removeprefix("--") for name in options if name.startswith("--")]  # two dashes make short ones alike
    hint = nearest(error.option_name.lstrip("-"), long).replace("mean ", "mean --")
    return f"there is no {visible(error.option_name)} of {_command(error)}{hint or _more(error)}"


def _no_such_command(error: Any, name: str) -> str:
    commands = list(getattr(error.ctx.command, "commands", {})) if error.ctx else []
    hint = nearest(name, commands) or (f"; there are {listed(commands)}" if commands else "")
    return f"there is no command {told(name)}{hint}"


def _command(error: Any) -> str:
    return str(error.ctx.command_path) if error.ctx else "gpunet"


def _more(error: Any) -> str:
    return f"; {_command(error)} -h says more"


def _called(param: Any) -> str:
    """An option by its longest name, an argument by what stands for it in the help."""
    options = [name for name in param.opts if name.startswith("-")]
    return max(options, key=len) if options else str(param.metavar or param.name.upper())
