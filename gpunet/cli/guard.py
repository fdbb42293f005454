"""One clear message and the right exit code for whatever goes wrong in a command; tracebacks for our own bugs alone."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from gpunet.cli.streams import escape_what_does_not_encode
from gpunet.errors import ConfigError, GpunetError
from gpunet.values.visible import visible

MISTAKE, CTRL_C, CLOSED_PIPE = 2, 130, 141


class GuardedGroup(TyperGroup):
    """Commands whose errors are told by `guarded`."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        self.words = list(args[1])
        with guarded(self.words):  # --help and --version print here
            if sys.stdout is None:  # closed before the start, as by `>&-`: the next file to open would take its place
                sys.exit(CLOSED_PIPE)
            escape_what_does_not_encode()
            for word in args[1]:
                require_plain_digits(word)
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with guarded(self.words):
            result = super().invoke(ctx)
            sys.stdout.flush()  # a full disk or a closed pipe shows here, while there is someone to say so
        return result


def require_plain_digits(word: str) -> None:
    """Raise ConfigError for a number in other digits than 0 to 9, which Python would read."""
    text = word.rpartition("=")[2]
    if text.isascii() or Path(text).exists():
        return
    with suppress(ValueError):
        value = float(text)
        plain = int(value) if value.is_integer() else value
        raise ConfigError(f"numbers are written in the digits 0 to 9: {text} must be {plain}")


@contextmanager
def guarded(words: Sequence[str] = ()) -> Iterator[None]:
    """Turn what is a person's, the machine's or the other program's doing into a message and an exit code.

    `words`  the command line, which a message about it may quote
    """
    try:
        yield
    except GpunetError as error:
        _end_all(error)
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _end_all(KeyboardInterrupt("stopped"))
        interrupted()
    except BrokenPipeError:
        _drop_output()
        sys.exit(CLOSED_PIPE)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich, which prints the help, leaves with 1
            sys.exit(CLOSED_PIPE)
        raise
    except OSError as error:
        _end_all(error)
        _drop_output()
        what = f"cannot use {visible(str(error.filename))}" if error.filename else "cannot write the output"
        complain(f"{what}: {error.strerror or error}")
        sys.exit(MISTAKE)
    except MemoryError as error:
        _end_all(error)
        complain("this machine has not enough memory for that; use a smaller batch")
        sys.exit(MISTAKE)
    except Exception as error:
        if (mistake := _mistake(error, words)) is None:
            if not isinstance(error, typer.Exit):
                _end_all(error)
            raise
        complain(mistake)
        sys.exit(MISTAKE)


def _end_all(error: BaseException) -> None:
    """Of several ranks that have met, end all, which says what happened; else nothing."""
    if "gpunet.ranks.crew" in sys.modules:
        from gpunet.ranks.crew import end_with

        end_with(error)


def _mistake(error: Exception, words: Sequence[str]) -> str | None:
    """What is wrong with the command line, where that is the error; None where it is no such thing."""
    from gpunet.cli.usage import usage_words  # only after a mistake

    return usage_words(error, words)


def complain(message: str) -> None:
    """A message for the person who typed, on standard error; names in it can do a terminal no harm."""

    with suppress(OSError):
        typer.secho("gpunet: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
        typer.echo("\n".join(map(visible, message.split("\n"))), err=True)


def interrupted() -> NoReturn:
    """Say that Ctrl-C was heard, and leave."""
    complain("stopped")
    sys.exit(CTRL_C)


def _drop_output() -> None:
    """Nothing more is to be written where writing failed: the interpreter would try again when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
