"""The command line: one file a command. Everything heavy is imported by the command that needs it."""

import sys


def main() -> None:
    """Run the program. Exit codes: 0 done, 1 does not fit its memory, 2 a mistake or a limit, 130 stopped by Ctrl-C."""
    try:
        from gpunet.cli.app import app

        app(prog_name="gpunet")
    except KeyboardInterrupt:  # outside of any command, as in the imports: nothing is imported to say so
        print("gpunet: stopped", file=sys.stderr)
        sys.exit(130)
