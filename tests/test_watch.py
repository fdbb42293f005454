"""Who looks after the ranks: one message, whatever happened, and all end."""

import selectors
from collections.abc import Callable
from socket import create_connection, create_server
from threading import Thread
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest

from gpunet.errors import ConfigError
from gpunet.ranks import watch
from gpunet.ranks.communicator import Place
from gpunet.ranks.crew import Crew, started
from gpunet.ranks.tcp import TcpCommunicator
from gpunet.ranks.watch import DIED, RanksEnded, Watch, Watched

ALL = {"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
"""What starters without MPI set."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BEAT": 0.05, "SILENT": 0.4, "GRACE": 0.1, "SETTLE": 0.1}.items():
        monkeypatch.setattr(watch, f"{name}_SECONDS", seconds)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def ranks(said):
    """A watch over two ranks, and the codes with which they were made to leave."""
    looking, codes = Watch(said.append), []
    made = [Watched(looking.address, Place(rank, 2, 0, "here"), leave=codes.append) for rank in range(2)]
    until(lambda: sum(rank.place is not None for rank in list(looking._ranks.values())) == 2)
    yield SimpleNamespace(watch=looking, made=made, codes=codes)
    for one in made:
        one.left()
    looking.close()


def until(true: Callable[[], Any]) -> None:
    ends = monotonic() + 5
    while not true():
        assert monotonic() < ends
        sleep(0.01)


def test_a_fault_of_one_rank_is_told_once_with_the_way_on_and_ends_the_others(ranks, said):
    ranks.made[0].note("gpunet train --resume run goes on after step 7")
    sleep(0.1)
    ranks.made[1].fault("the disk is full", 2)
    until(lambda: said)
    assert said == ["rank 1 on here: the disk is full\ngpunet train --resume run goes on after step 7"]
    until(lambda: ranks.codes)
    with pytest.raises(RanksEnded) as error:
        ranks.made[0].look()
    assert error.value.exit_code == 2 and ranks.codes == [2]


def test_what_all_meet_is_told_of_none_of_them(ranks, said):
    for one in ranks.made:
        one.fault("there is no file /nowhere", 2)
    until(lambda: said)
    assert said == ["there is no file /nowhere"]


def test_a_connection_that_ends_without_a_word_is_a_death(ranks, said):
    ranks.made[1]._left = True  # it does not beat any more
    ranks.made[1]._line.shutdown(2)
    until(lambda: said)
    assert said == [f"rank 1 on here: {DIED}"] and ranks.watch.cause == (said[0], 2)


def test_silence_is_a_hang(ranks, said):
    ranks.made[0]._left = True  # no beats, and yet connected
    until(lambda: said)
    assert said[0].startswith("rank 0 on here: has not answered for")


def test_rank_0_goes_last_but_waits_for_none_that_hangs(ranks):
    begun = monotonic()
    ranks.watch.see_off(0.3)
    assert monotonic() - begun >= 0.3  # rank 1 is still there
    ranks.made[1]._left = True  # no beats, and yet connected
    until(lambda: ranks.watch.cause)
    begun = monotonic()
    ranks.watch.see_off(5)
    assert monotonic() - begun < 4


def test_a_watch_that_was_stopped_itself_hears_first_what_came_meanwhile(ranks, said, monkeypatch):
    heard = selectors.DefaultSelector.select

    def stopped(selector, timeout=None):  # as epoll after SIGCONT: late, and with nothing
        if selector.get_map() and not slept:
            slept.append(sleep(0.6))
            return []
        return heard(selector, timeout)

    slept: list[None] = []
    monkeypatch.setattr(selectors.DefaultSelector, "select", stopped)
    sleep(1)
    assert slept and said == [] and ranks.watch.cause is None


@pytest.mark.parametrize(
    ("keeper", "words"),
    [(Place(0, 2, 0, "node1"), "rank 0 on node1: was killed"), (None, "the gpunet that started all ranks on here was")],
)
def test_ranks_whose_keeper_is_gone_say_who_that_was_once(keeper, words):
    said, codes = [], []
    looking = Watch(lambda message: None)
    options = {"keeper": keeper, "leave": codes.append, "complain": said.append}
    made = [Watched(looking.address, Place(rank, 3, 0, "here"), **options) for rank in range(3)]
    made[0].note("it goes on")
    until(lambda: all(one._note for one in made))
    looking.close()
    until(lambda: len(codes) == 3)
    assert len(said) == 1 and said[0].startswith(words) and said[0].endswith("it hangs\nit goes on")


def test_ranks_that_leave_are_not_missed(ranks, said):
    for one in ranks.made:
        one.left()
    sleep(0.6)
    assert said == [] and ranks.watch.cause is None


def test_strangers_are_not_heard(ranks, said):
    host, port, _ = ranks.watch.address.split(":")
    stranger = Watched(f"{host}:{port}:guessed", Place(0, 2), leave=ranks.codes.append)
    stranger.fault("lies", 2)
    sleep(0.4)
    stranger.left()
    assert said == []


def test_what_one_rank_alone_has_is_a_disagreement():
    told = [{"net": "a"}, {"net": "a", "frozen": "conv1"}]
    communicator = SimpleNamespace(tell=lambda facts: told, place=Place(0, 2), look=None)
    crew = Crew(communicator, SimpleNamespace(look=None), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="about the frozen: rank 0 has None, rank 1 has conv1"):
        crew.agree(told[0])


def test_ranks_that_disagree_are_refused_alike():
    told = [{"net": "a", "version": "1"}, {"net": "b", "version": "1"}]
    communicator = SimpleNamespace(tell=lambda facts: told, place=Place(0, 2), look=None)
    crew = Crew(communicator, SimpleNamespace(look=None), None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the ranks disagree about the net: rank 0 has a, rank 1 has b"):
        crew.agree(told[0])


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "4"}, (1, 4)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"}, None),
        (ALL, (2, 3)),
    ],
)
def test_a_starter_says_who_is_who(variables, place, monkeypatch):
    monkeypatch.setattr("gpunet.ranks.crew.os.environ", variables)
    found = started()
    assert (found and (found.rank, found.size)) == place


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "set LOCAL_RANK, MASTER_ADDR, MASTER_PORT, too"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "set LOCAL_RANK"),
        ({**ALL, "RANK": "3"}, "RANK must be from 0 to 2, as WORLD_SIZE is 3; it is 3"),
        ({**ALL, "MASTER_PORT": "99999"}, "MASTER_PORT must be from 1 to 65535; it is 99999"),
        ({"PMI_RANK": "x", "PMI_SIZE": "2"}, "PMI_RANK must be a number"),
    ],
)
def test_variables_of_no_use_are_told(variables, message, monkeypatch):
    monkeypatch.setattr("gpunet.ranks.crew.os.environ", variables)
    with pytest.raises(ConfigError, match=message):
        started()


def test_a_port_in_use_is_told():
    with create_server(("", 0)) as taken, pytest.raises(ConfigError, match="cannot listen on MASTER_PORT"):
        TcpCommunicator(Place(0, 2), "127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "rank 0 at MASTER_ADDR 127.0.0.1, MASTER_PORT .* left while the ranks met"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "rank 0 at .* does not speak as a rank does"),
        (b"\3" + bytes(7) + b"abc", "rank 0 at .* does not speak as a rank does"),
    ],
)
def test_another_program_on_the_port_is_told_by_whoever_met_it(answer, message):
    with create_server(("127.0.0.1", 0)) as other:

        def serve() -> None:
            line, _ = other.accept()
            with line:
                line.sendall(answer)

        Thread(target=serve).start()
        with pytest.raises(ConfigError, match=message):
            TcpCommunicator(Place(1, 2), "127.0.0.1", other.getsockname()[1])


def test_a_stranger_on_the_port_is_told_by_rank_0():
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def knock() -> None:
        until(lambda: _says("127.0.0.1", port, b"GET / HTTP/1.0\r\n\r\n"))

    Thread(target=knock).start()
    with pytest.raises(ConfigError, match=f"a process that reached MASTER_PORT {port} does not speak as a rank"):
        TcpCommunicator(Place(0, 2), "127.0.0.1", port)


def _says(host: str, port: int, words: bytes) -> bool:
    try:
        with create_connection((host, port)) as line:
            line.sendall(words)
            sleep(0.2)
    except ConnectionRefusedError:
        return False
    return True
