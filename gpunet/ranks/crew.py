"""The ranks of a run as a command sees them: whether there are others, how they meet, and how they leave."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from gpunet.errors import ConfigError, GpunetError
from gpunet.ranks.communicator import Communicator, Place
from gpunet.ranks.watch import GRACE_SECONDS, RanksEnded, Watch, Watched
from gpunet.version import __version__

WATCH = "GPUNET_WATCH"
"""The variable in which processes that gpunet has started find who looks after them."""

TERMINAL = "GPUNET_TERMINAL"
"""The variable in which they find how wide the terminal is that what rank 0 says ends up on, where that is one."""

STARTERS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("PMIX_RANK", "SLURM_NTASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
"""The variables of MPI's starters, rank and size."""

PLAIN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Those of starters without MPI."""


MOST_PORT = 2**16 - 1


class Crew:
    """This process and the others of its run.

    `watched`  says that it lives; `watch`, in rank 0 alone and where nobody else does, looks after all
    """

    def __init__(self, communicator: Communicator, watched: Watched, watch: Watch | None) -> None:
        self.communicator = communicator
        self.watched = watched
        self.watch = watch
        communicator.look = watched.look

    @property
    def place(self) -> Place:
        return self.communicator.place

    @property
    def leads(self) -> bool:
        """Whether it is rank 0, which writes and speaks for all."""
        return self.place.rank == 0

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raise ConfigError, in all ranks alike, where they do not have the same facts, by name."""
        told = self.communicator.tell(dict(facts))
        for rank, other in enumerate(told):
            for name in {**told[0], **other}:
                if (fact := told[0].get(name)) != other.get(name):
                    raise ConfigError(
                        f"the ranks disagree about the {name}: rank 0 has {fact}, rank {rank} has {other.get(name)}; "
                        "all must be started alike, with the same gpunet and the same data"
                    )

    def leave(self) -> None:
        """Come to the end together with all others."""
        self.communicator.close()
        self.watched.left()

    def fail(self, message: str, code: int) -> NoReturn:
        """End with all others because of what this rank has met, which is said once."""
        self.watched.fault(message, code)
        self._exit(code)

    def follow(self, code: int) -> NoReturn:
        """End because of what another rank has met and is said elsewhere."""
        self.watched.left()
        self._exit(code)

    def _exit(self, code: int) -> NoReturn:
        """Leave without MPI's end, for which all ranks would have to come."""
        self.watched.said.wait(2 * GRACE_SECONDS)  # a starter may end all as soon as one has left
        if self.watch is not None:
            self.watch.see_off(2 * GRACE_SECONDS)
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(code)


_present: Crew | None = None


def present() -> Crew | None:
    """The crew of this process, once it has met; None where there is none."""
    return _present


def started() -> Place | None:
    """Where this process stands as its starter says; None where it was started alone."""
    for rank, size in STARTERS:
        if rank in os.environ and size in os.environ:
            place = Place(_number(rank), _number(size), 0, socket.gethostname())
            return place if place.size > 1 else None
    if all(name in os.environ for name in PLAIN[:2]) and _number("WORLD_SIZE") > 1:
        missing = [name for name in PLAIN if name not in os.environ]
        if missing:
            raise ConfigError(f"RANK and WORLD_SIZE are set, so others are to be met: set {', '.join(missing)}, too")
        place = Place(_number("RANK"), _number("WORLD_SIZE"), _number("LOCAL_RANK"), socket.gethostname())
        if not 0 <= place.rank < place.size:
            raise ConfigError(
                f"RANK must be from 0 to {place.size - 1}, as WORLD_SIZE is {place.size}; it is {place.rank}"
            )
        if not 0 < _number("MASTER_PORT") <= MOST_PORT:
            raise ConfigError(f"MASTER_PORT must be from 1 to {MOST_PORT}; it is {os.environ['MASTER_PORT']}")
        return place
    return None


def by_mpi() -> bool:
    """Whether a starter of MPI has started this process."""
    return any(rank in os.environ and size in os.environ for rank, size in STARTERS)


def meet(complain: Callable[[str], None]) -> Crew | None:
    """Meet the other ranks, where this process was started with others.

    Raises ConfigError where that is not possible.
    """
    global _present
    place = started()
    if place is None:
        return None
    if address := os.environ.get(WATCH):
        watched = Watched(address, place, complain=complain)
        try:
            communicator = _communicator(place)
        except GpunetError as error:
            watched.fault(str(error), error.exit_code)
            raise
        watch = None
    else:
        communicator = _communicator(place)
        hosts = communicator.tell(communicator.place.host)
        here = len(set(hosts)) == 1
        watch = Watch(complain, "127.0.0.1" if here else "0.0.0.0") if communicator.rank == 0 else None
        address = communicator.tell(watch.address if watch else None)[0]
        keeper = Place(0, communicator.size, 0, hosts[0])
        watched = Watched(address, communicator.place, keeper=keeper, complain=complain)
    _present = Crew(communicator, watched, watch)
    _present.agree({"version of gpunet": __version__})  # before anything that versions may do otherwise
    return _present


def end_with(error: BaseException) -> None:
    """End this process with all others of its crew because of an error; returns where it has none."""
    if _present is None:
        return
    code = error.exit_code if isinstance(error, GpunetError) else GpunetError.exit_code
    if isinstance(error, RanksEnded):
        _present.follow(code)
    words = str(error) if isinstance(error, GpunetError) else f"{type(error).__name__}: {error}"
    _present.fail(words, code)


def _communicator(place: Place) -> Communicator:
    if by_mpi():
        from gpunet.ranks.mpi import MpiCommunicator

        return MpiCommunicator()
    from gpunet.ranks.tcp import TcpCommunicator

    return TcpCommunicator(place, os.environ["MASTER_ADDR"], _number("MASTER_PORT"))


def _number(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError:
        raise ConfigError(f"the variable {name} must be a number; it is {os.environ[name]!r}") from None
