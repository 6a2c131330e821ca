# SPDX-License-Identifier: Apache-2.0
"""Makes a process that runs do a system call that is not its own, by ptrace, as
somebody would who had taken it over.  For root, on x86-64; for the tests here."""
import ctypes
import os
import platform
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
LIBC.ptrace.restype = ctypes.c_long
GETREGS, SETREGS, DETACH, SEIZE, INTERRUPT = 12, 13, 17, 0x4206, 0x4207
WALL = 0x40000000
SYSCALL = b"\x0f\x05"  # The instruction.
WORKS_HERE = platform.machine() == "x86_64"

NUMBERS = {"rt_sigaction": 13, "socket": 41, "execve": 59, "kill": 62, "ptrace": 101,
           "mount": 165, "keyctl": 250, "unshare": 272, "perf_event_open": 298,
           "setns": 308, "process_vm_readv": 310, "bpf": 321, "userfaultfd": 323,
           "io_uring_setup": 425}


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs "
        "eflags rsp ss fs_base gs_base ds es fs gs").split()]


def ptrace(request, pid, data=None):
    if LIBC.ptrace(request, pid, None, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def in_a_call(pid, registers):
    """Stopped right behind the instruction, as whoever waits in the kernel is."""
    with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
        memory.seek(registers.rip - len(SYSCALL))
        return memory.read(len(SYSCALL)) == SYSCALL


def inject(pid, name, *arguments):
    """The process goes on with this call in the place of the one it waits in."""
    for _ in range(100):
        ptrace(SEIZE, pid)
        ptrace(INTERRUPT, pid)
        os.waitpid(pid, WALL)
        registers = Registers()
        ptrace(GETREGS, pid, ctypes.addressof(registers))
        if in_a_call(pid, registers):
            break
        ptrace(DETACH, pid)
        time.sleep(0.01)
    else:
        raise AssertionError("%d never waits" % pid)
    registers.rip -= len(SYSCALL)
    registers.rax = NUMBERS[name]
    registers.orig_rax = 2**64 - 1  # It is in no call that would be begun again.
    for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"),
                               arguments + (0,) * 6):
        setattr(registers, register, value)
    ptrace(SETREGS, pid, ctypes.addressof(registers))
    ptrace(DETACH, pid)
