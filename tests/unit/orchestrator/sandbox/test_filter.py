"""The filter of system calls, run by an interpreter of our own: seccomp's subset of the classic Berkeley filter."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sandbox.filter import ALLOW, DENIED, KILL, MACHINES, UNKNOWN, seccomp_filter

EPERM, ENOSYS, EAFNOSUPPORT = 0x50001, 0x50026, 0x50061
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003


def verdict(steps: bytes, number: int, *arguments: int, arch: int = X86_64) -> int:
    """Run a filter over one system call and give what it returns."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    program = list(struct.iter_unpack("=HBBI", steps))
    accumulator = place = 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        match code:
            case 0x20:
                accumulator = struct.unpack_from("=I", data, value)[0]
            case 0x15:
                place += if_true if accumulator == value else if_false
            case 0x35:
                place += if_true if accumulator >= value else if_false
            case 0x45:
                place += if_true if accumulator & value else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"an unknown step: {code:#x}")


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, ALLOW),  # read
        (59, ALLOW),  # execve
        (57, ALLOW),  # fork
        (302, ALLOW),  # prlimit64
        (101, EPERM),  # ptrace
        (165, EPERM),  # mount
        (272, EPERM),  # unshare
        (321, EPERM),  # bpf
        (323, EPERM),  # userfaultfd
        (250, EPERM),  # keyctl
        (425, EPERM),  # io_uring_setup
        (435, ENOSYS),  # clone3
        (319, ENOSYS),  # memfd_create
        (0x40000000 | 101, ENOSYS),  # ptrace by its number of x32
        (0x40000000, ENOSYS),
    ],
)
def test_sec_21_a_system_call_is_let_through_or_refused(number: int, expected: int) -> None:
    assert verdict(seccomp_filter("x86_64"), number) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [(17, ALLOW), (0x3D0F00, ALLOW), (0x10000000, EPERM), (0x20000 | 17, EPERM), (0x2000000, EPERM)],
)
def test_sec_21_processes_and_threads_are_made_but_no_namespace(flags: int, expected: int) -> None:
    assert verdict(seccomp_filter("x86_64"), 56, flags) == expected
    assert verdict(seccomp_filter("aarch64"), 220, flags, arch=AARCH64) == expected


@pytest.mark.parametrize(
    ("request_number", "expected"), [(0x5401, ALLOW), (0x5412, EPERM), (0x541C, EPERM), (1 << 32 | 0x5412, EPERM)]
)
def test_sec_21_nobody_types_into_a_terminal(request_number: int, expected: int) -> None:
    assert verdict(seccomp_filter("x86_64"), 16, 0, request_number) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_sec_21_only_sockets_that_a_network_namespace_holds_are_made(family: int, above: int) -> None:
    expected = ALLOW if family in (1, 2, 10, 16) else EAFNOSUPPORT

    assert verdict(seccomp_filter("x86_64"), 41, above << 32 | family) == expected
    assert verdict(seccomp_filter("aarch64"), 198, above << 32 | family, arch=AARCH64) == expected


@given(st.integers(0, 2**32 - 1))
def test_sec_21_another_set_of_numbers_ends_the_program(number: int) -> None:
    assert verdict(seccomp_filter("x86_64"), number, arch=I386) == KILL
    assert verdict(seccomp_filter("aarch64"), number, arch=X86_64) == KILL


@pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86_64, 0), ("aarch64", AARCH64, 1)])
def test_the_list_is_refused_and_nothing_else(machine: str, arch: int, column: int) -> None:
    steps = seccomp_filter(machine)
    refused = {number for number in range(600) if verdict(steps, number, 2, arch=arch) != ALLOW}

    assert refused == {numbers[column] for table in (DENIED, UNKNOWN) for numbers in table.values()} - {None}
    assert len(steps) // 8 < 4096  # what the kernel takes


def test_a_processor_without_numbers_of_ours_has_no_filter() -> None:
    assert seccomp_filter("riscv64") == b""
    assert set(MACHINES) == {"x86_64", "aarch64"}


def test_the_numbers_are_those_of_the_kernels_headers_where_they_are_installed() -> None:
    headers = (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h"))
    for column, header in enumerate(headers):
        text = header.read_text(encoding="ascii") if header.exists() else ""
        known = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)\n", text)}
        for name, numbers in (DENIED | UNKNOWN).items():
            assert known.get(name, numbers[column]) == numbers[column]
