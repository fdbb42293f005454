"""Breaks each kernel on purpose, in a copy, and shows that the tests notice: `python tests/mutants.py [NAME ...]`.

The mutants of a kernel stand with its tests. The tests of a mutant's kernel run on the emulator with the changed copy.
Exit code 1 if a mutant survives, if it does not compile, or if the text that it changes is not there any more.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.mutations import Mutant, all_mutants
from tests.with_kernels import NOT_COMPILED

MUTANTS = all_mutants()
ROOT = Path(__file__).resolve().parents[1]
KERNELS = ROOT / "cuda"
TIMEOUT_SECONDS = 900
"""A mutant that runs for so long is caught too: it hangs."""


def main(names: list[str]) -> int:
    """Try the mutants, or those that one of `names` means; print a table; 0 if all are caught."""
    chosen = [mutant for mutant in MUTANTS if not names or any(_means(name, mutant) for name in names)]
    if not chosen:
        print(f"no mutant has any of these in its name: {', '.join(names)}")
        return 1
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # compiled once for all mutants that leave a file alone
        files = sorted({file for mutant in chosen for file in mutant.matters_to})
        print(f"{len(chosen)} mutants; first the tests of {', '.join(files)} with the kernels as they are", flush=True)
        if sound := judge(files, None, Path(folder)):
            print(f"the kernels as they are fail {sound}: mend that first")
            return 1
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            verdicts = list(pool.map(lambda mutant: _try(mutant, Path(folder)), chosen))
    lost = [verdict for verdict in verdicts if verdict in (SURVIVED, NOT_THERE, NOT_COMPILED)]
    print(f"{len(verdicts) - len(lost)} of {len(verdicts)} mutants caught in {time.perf_counter() - start:.0f} s")
    return 1 if lost else 0


def _means(name: str, mutant: Mutant) -> bool:
    """A file's name means its mutants alone, not those of leaky_relu by relu; any other one, all that contain it."""
    file = f"{name}.cu"
    return mutant.file == file if any(other.file == file for other in MUTANTS) else name in str(mutant)


SURVIVED = "SURVIVED"
NOT_THERE = "NOT THERE"


def _try(mutant: Mutant, folder: Path) -> str:
    try:
        verdict = judge(mutant.matters_to, mutant, folder) or SURVIVED
    except ValueError as error:
        print(error)
        verdict = NOT_THERE
    print(f"{mutant!s:60} {verdict}", flush=True)
    return verdict


def judge(files: Sequence[str], mutant: Mutant | None, folder: Path) -> str:
    """Which test of these files of ops fails with this mutant, or with the kernels as they are; "" if none does."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for path in KERNELS.iterdir():
            Path(place, path.name).write_bytes(path.read_bytes())
        if mutant:
            mutant.apply(Path(place))
        report = Path(place, "failed")
        command = [sys.executable, "-m", "tests.with_kernels", place, str(report), *files]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return f"more than {TIMEOUT_SECONDS} s"
        if report.exists():
            return report.read_text(encoding="utf-8")
        if done.returncode > 0:
            raise RuntimeError(f"the tests could not run:\n{done.stdout}{done.stderr}")
        return f"the process, which died of signal {-done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
