"""The CPU's arena, and how its work is shared out over threads."""

import os
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from gpunet.devices.cpu.device import CpuDevice
from gpunet.devices.cpu.threads import in_parts, share, share_blocks, split, thread_count
from gpunet.errors import DeviceError, ShapeError
from tests.ops import run_op


@pytest.fixture
def cpu():
    return CpuDevice()


def blas_threads():
    """Of NumPy's own library; SciPy, once something has imported it, brings another."""
    blas = [library for library in threadpool_info() if library["user_api"] == "blas"]
    return [library["num_threads"] for library in blas if "numpy" in library["filepath"]]


class TestArena:
    def test_views_of_one_arena_share_its_bytes(self, cpu):
        arena = cpu.allocate(4096)
        arena.fill(0, 4096, 0xFF)
        floats, doubles = arena.view(256, (3, 5), "float32"), arena.view(256, (7,), "float64")
        assert floats.flags.c_contiguous
        assert floats.flags.writeable
        assert floats.ctypes.data % 256 == 0
        assert np.isnan(floats).all()
        cpu.write(doubles, np.arange(7))
        np.testing.assert_array_equal(cpu.read(floats).reshape(-1)[:14], np.arange(7.0).view(np.float32))

    def test_what_is_read_is_a_copy(self, cpu):
        view = cpu.allocate(512).view(0, (4,), "int32")
        cpu.write(view, np.array([1, 2, 3, 4]))
        values = cpu.read(view)
        cpu.write(view, np.zeros(4))
        np.testing.assert_array_equal(values, [1, 2, 3, 4])

    @pytest.mark.parametrize("offset, shape", [(-4, (1,)), (96, (2,)), (0, (5, 6)), (104, (1,))])
    def test_no_view_leaves_the_arena(self, cpu, offset, shape):
        with pytest.raises(ShapeError, match="not all in an arena of 100"):
            cpu.allocate(100).view(offset, shape, "float32")

    def test_values_of_another_shape_are_refused(self, cpu):
        view = cpu.allocate(256).view(0, (2, 3), "float32")
        with pytest.raises(ShapeError, match=r"\(3,\) do not fit an array of shape \(2, 3\)"):
            cpu.write(view, np.zeros(3))

    def test_more_than_there_is_is_refused_with_the_numbers(self, cpu):
        with pytest.raises(DeviceError, match=r"9313.23 GiB \(10000000000000 bytes\).* GiB that are free"):
            cpu.allocate(10**13)

    def test_an_arena_that_was_given_back_says_so(self, cpu):
        arena = cpu.allocate(256)
        arena.free()
        with pytest.raises(DeviceError, match="after its memory was given back"):
            arena.view(0, (1,), "uint8")


class TestThreads:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
    def test_every_item_is_done_once_by_a_worker_there_is(self, count):
        done = []
        share(range(count), lambda item, worker: done.append((item, worker)))
        assert sorted(item for item, _ in done) == list(range(count))
        assert all(0 <= worker < thread_count() for _, worker in done)

    def test_no_more_workers_than_have_scratch(self):
        workers = set()
        share(range(20), lambda item, worker: workers.add(worker), 1)
        assert workers == {0}

    @pytest.mark.skipif(thread_count() < 2, reason="one core cannot do two things at once")
    def test_two_items_run_at_once(self):
        both = threading.Barrier(2, timeout=10)
        share(range(2), lambda item, worker: both.wait())

    @pytest.mark.skipif(thread_count() < 2, reason="one core has all of it")
    def test_a_worker_has_the_same_part_of_as_many_items(self):
        both, done = threading.Barrier(2, timeout=10), []

        def do(item, worker):
            both.wait()  # so neither is done before the other
            done.append((item, worker))

        share(range(8), do, 2)
        assert sorted(done) == [(item, item // 4) for item in range(8)]

    @pytest.mark.skipif(thread_count() < 2, reason="one core has all of it")
    def test_who_is_done_helps_the_others_from_behind(self):
        done, last = [], threading.Event()

        def do(item, worker):
            if item == 0:
                assert last.wait(10), "nobody took what follows on the first item"
            done.append((item, worker))
            if len(done) == 7:
                last.set()

        share(range(8), do, 2)
        assert done == [*((item, 1) for item in (4, 5, 6, 7, 3, 2, 1)), (0, 0)]

    @pytest.mark.parametrize("count, workers", [(0, 2), (1, 2), (7, 2), (8, 3), (2, 5)])
    def test_parts_follow_each_other_and_none_is_empty(self, count, workers):
        parts = in_parts(range(count), workers)
        assert [item for part in parts for item in part] == list(range(count))
        assert len(parts) == min(count, workers)
        assert max(map(len, parts), default=0) - min(map(len, parts), default=0) <= 1

    @pytest.mark.parametrize("bad", [0, 7])
    def test_an_error_reaches_the_caller_and_the_next_call_works(self, bad):
        def do(item, worker):
            if item == bad:
                raise ZeroDivisionError(item)

        with pytest.raises(ZeroDivisionError):
            share(range(8), do)
        share(range(8), lambda item, worker: None)

    def test_blas_has_one_thread_inside_and_its_own_number_again_afterwards(self):
        before, inside = blas_threads(), []
        share(range(3), lambda item, worker: inside.append(blas_threads()))
        assert inside == [[1] * len(before)] * 3
        assert blas_threads() == before

    @pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000])
    def test_slices_cover_a_range_in_order(self, size):
        slices = []
        share_blocks(size, lambda block, worker: slices.append(block), block=16)
        for parts in (split(size), sorted(slices, key=lambda part: part.start)):
            assert [i for part in parts for i in range(size)[part]] == list(range(size))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_forked_child_makes_threads_of_its_own(self, cpu):
        x = np.arange(-50000, 50000, dtype=np.float32).reshape(1, 1, 1, -1)
        expected = run_op(cpu, "relu_forward", [x], [(x.shape, x.dtype)])[0]
        child = os.fork()
        if child == 0:
            found = run_op(cpu, "relu_forward", [x], [(x.shape, x.dtype)])[0]
            os._exit(0 if np.array_equal(found, expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
