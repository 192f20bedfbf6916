"""What the processor says of itself, on files like Linux's; and amounts in words."""

import errno
import os

import pytest
import torch

from backend import machine

# As Python, the system, a GPU and the processor say it; the last as torch 2.13 does where there is too little.
NO_MEMORY = (MemoryError(), OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
             torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
             RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you"))


@pytest.fixture
def cpuinfo(tmp_path):
    def written(text):
        (tmp_path / "cpuinfo").write_text(text)
        return tmp_path / "cpuinfo"

    return written


@pytest.mark.parametrize(("flags", "can"), [
    ("flags\t\t: fpu avx2 avx512f avx512_bf16", True), ("Features\t: fp asimd bf16", True),
    ("flags\t\t: fpu avx2", False), ("processor : 0", None),
])
def test_instructions_for_bfloat16_are_read_from_the_flags(cpuinfo, flags, can):
    assert machine.multiplies("bfloat16", cpuinfo(f"processor\t: 0\n{flags}\nbogomips\t: 1\n")) is can


def test_a_system_without_the_file_does_not_say(tmp_path):
    assert machine.multiplies("bfloat16", tmp_path / "none") is None
    assert machine.multiplies("float32", tmp_path / "none") is True


def test_only_a_dtype_known_to_be_slow_is_warned_of(monkeypatch):
    for known, warns in ((True, False), (None, False), (False, True)):
        monkeypatch.setattr(machine, "multiplies", lambda dtype, known=known: known)
        assert bool(machine.slow("float16")) is warns


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (40, "40 s"), (200, "3 min"), (3600, "1 h"),
                                                (18_600, "5 h 10 min"), (90_000, "1 day 1 h"), (172_800, "2 days")])
def test_time_is_said_as_people_say_it(seconds, words):
    assert machine.duration(seconds) == words


def test_a_process_may_open_as_many_files_as_the_system_allows_it():
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        assert machine.raise_open_files(300) == 300
        assert machine.raise_open_files(250) == 300  # never lowered
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (300, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_memory_that_ran_out_is_known_whoever_says_so():
    assert all(machine.is_out_of_memory(error) for error in NO_MEMORY)
    with pytest.raises(RuntimeError) as real:
        torch.empty(1 << 60)
    assert machine.is_out_of_memory(real.value)
    for other in (RuntimeError("shapes do not fit"), OSError(errno.ENOSPC, "No space"), ValueError("out of memory")):
        assert not machine.is_out_of_memory(other)
