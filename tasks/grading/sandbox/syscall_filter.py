"""A seccomp filter for untrusted programs: no processes, no sockets, no signals, no system settings.

What is not listed is allowed; all system calls newer than 2019 answer "not implemented", for which libraries have a
way round. Threads stay possible. Stand-alone (standard library only): the sandboxed interpreter imports it.

Not covered: machines other than x86-64 and arm64 Linux; `install` then returns False and nothing must be run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_FIRST_NEW = 424
_CLONE_THREAD = 0x00010000
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Call names and numbers: (x86-64, arm64), None where the machine has no such call.
_Calls = dict[str, tuple[int | None, int | None]]
_PROCESSES: _Calls = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "prctl": (157, 167),
    "setrlimit": (160, 164),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
}
_COMMUNICATION: _Calls = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
}
_SYSTEM: _Calls = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "capset": (126, 91),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
}
_ATTRIBUTES: _Calls = {
    "mknod": (133, None),
    "mknodat": (259, 33),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
_FILES: _Calls = {
    "creat": (85, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "truncate": (76, 45),
}
_OPEN: _Calls = {"open": (2, None), "openat": (257, 56)}
_CLONE = (56, 220)

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENTS = 0, 4, 16


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def _deny_flags(number: int, argument: int, flags: int, when_set: bool) -> list[bytes]:
    """Refuses one call by a bit test of an argument, then reloads the number for the tests that follow."""
    refuse = _instruction(_RETURN, _ERROR | errno.EPERM)
    test = _instruction(_JUMP_SET, flags, 0 if when_set else 1, 1 if when_set else 0)
    return [
        _instruction(_JUMP_EQUAL, number, 0, 4),
        _instruction(_LOAD, _OFFSET_ARGUMENTS + 8 * argument),
        test,
        refuse,
        _instruction(_RETURN, _ALLOW),
    ]


def program(machine: str, files: bool) -> bytes:
    """Returns the filter as BPF instructions.

    Args:
        machine: "x86_64" or "aarch64".
        files: whether to refuse every change to files too (where Landlock cannot confine them to a folder).
    """
    column = 0 if machine == "x86_64" else 1
    tables = [_PROCESSES, _COMMUNICATION, _SYSTEM, _ATTRIBUTES] + ([_FILES] if files else [])
    refused = [numbers[column] for table in tables for numbers in table.values()]
    code = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQUAL, _ARCH[machine], 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_AT_LEAST, _FIRST_NEW, 0, 1),
        _instruction(_RETURN, _ERROR | errno.ENOSYS),
    ]
    for number in refused:
        if number is not None:
            code += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, _ERROR | errno.EPERM)]
    clone = _CLONE[column]
    code += _deny_flags(clone, 0, _CLONE_THREAD, when_set=False)
    if files:
        for name, argument in (("open", 1), ("openat", 2)):
            number = _OPEN[name][column]
            if number is not None:
                code += _deny_flags(number, argument, _WRITING, when_set=True)
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(files: bool) -> bool:
    """Puts the filter on this process permanently. Returns whether the kernel took it."""
    machine = os.uname().machine
    if sys.platform != "linux" or machine not in _ARCH:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    code = program(machine, files)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    set_no_new_privs, set_seccomp, filter_mode = 38, 22, 2
    if libc.prctl(set_no_new_privs, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(set_seccomp, filter_mode, ctypes.byref(filter_program), 0, 0) == 0)
