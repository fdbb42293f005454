"""What can be known of each kernel without a GPU, beside what is kept: `python -m tests.static [--gpu GPU] [--write]`.

Exit code 1 where a kernel does what none may, or is worse than in the table that is kept; --write keeps what was
found.
"""

import argparse
import sys

from tests.static.table import GPUS, PATH, faults, lines, measure, read, regressions, write


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.static", description=__doc__.partition("\n")[0])
    parser.add_argument("--gpu", choices=GPUS, default="sm_86", help="of which the table is printed")
    parser.add_argument("--write", action="store_true", help=f"keep it in {PATH.name}")
    chosen = parser.parse_args(arguments)
    try:
        table = measure()
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(lines(table, chosen.gpu)))
    wrong = faults(table)
    if chosen.write:
        write(table)
        print(f"kept in {PATH}")
    else:
        wrong += regressions(table, read())
    print("\n".join(wrong) or "no kernel is worse than the table says")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
