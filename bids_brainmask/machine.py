# SPDX-License-Identifier: Apache-2.0
"""Processors and memory that this process may use, has used, and how it uses them."""

from __future__ import annotations

import atexit
import ctypes
import gc
import math
import os
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")

CPUINFO = Path("/proc/cpuinfo")
"""Linux describes the processors there."""

INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")
"""Instructions, as Linux names them, that add products of 8-bit integers in 32 bits. Others add
them in 16 bits, where sums overflow."""


BETWEEN_COLLECTIONS = 20_000
"""New objects, less those that are gone, after which Python looks for cyclic garbage; 700 by
default (2,000 from Python 3.13)."""

SWITCH_S = 0.0002
"""Seconds that a thread may run Python while another waits for it; 0.005 by default."""

MALLOPT = {-3: 2**25, -1: 2**26}
"""The C library's parameters M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes: the largest values
that it itself would come to."""


def tune_python() -> None:
    """Set how this process collects garbage and switches threads, for a command line.

    Imports make a hundred thousand objects that stay, and which Python searches for cyclic
    garbage 140 times by default. That took a seventh of the time of the imports, and a last
    search 45 ms at the end of the process.

    An image is read while the network is loaded. Both threads leave and enter the interpreter
    hundreds of times; by default they wait for each other for 90 ms.

    NumPy's OpenBLAS starts a thread for each processor, which takes 0.1 s of processor time on
    two; the products here are of 3 x 3 matrices. It must be told before NumPy is imported.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.set_threshold(BETWEEN_COLLECTIONS)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    sys.setswitchinterval(SWITCH_S)


def keep_freed_memory() -> None:
    """Let the C library give the memory of one array to the next, in a worker of dask.

    It does so by itself, unless one of its thresholds is set. dask sets one for its workers: then
    each array of more than 128 kB is new memory, which the system fills with zeros page by page.
    That took a third of the time of a run.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    for parameter, value in MALLOPT.items():
        if mallopt:  # glibc alone has it
            mallopt(parameter, value)


def cpus(root: Path = CGROUP) -> int:
    """Processors that this process may use.

    The minimum of its affinity mask, its control group's quota and ``SLURM_CPUS_PER_TASK``: a
    job has fewer than its node.

    Parameters
    ----------
    root : Path
        Mount point of the control groups.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    allowed = [here or 1, *_cgroup_cpus(root)]  # macOS and Windows have no affinity mask
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal():
        allowed.append(int(slurm))
    return max(1, min(allowed))


def _cgroup_cpus(root: Path) -> list[int]:
    """Quotas of the mounted control group, of version 2 or 1, in whole processors, rounded up."""
    quota = period = ""
    if (root / "cpu.max").is_file():
        quota, _, period = (root / "cpu.max").read_text().strip().partition(" ")
    elif (root / "cpu/cpu.cfs_quota_us").is_file():
        quota = (root / "cpu/cpu.cfs_quota_us").read_text().strip()
        period = (root / "cpu/cpu.cfs_period_us").read_text().strip()
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return []  # "max", or -1: no limit
    return [math.ceil(int(quota) / int(period))]


def memory_gb(root: Path = CGROUP) -> float:
    """Memory that this process may use, in GB (1e9 bytes): the machine's or the control group's.

    Parameters
    ----------
    root : Path
        Mount point of the control groups.
    """
    files = (root / "memory.max", root / "memory/memory.limit_in_bytes")
    texts = [file.read_text().strip() for file in files if file.is_file()]
    limits = [int(text) for text in texts if text.isdecimal()]  # "max": no limit
    if hasattr(os, "sysconf"):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        import psutil

        total = psutil.virtual_memory().total
    return min([total, *limits]) / 1e9


def multiplies_int8() -> bool:
    """Whether the processor has one of the instructions of `INT8`; False if it is not known."""
    return bool(instructions() & set(INT8))


def instructions() -> set[str]:
    """Names of the instructions of the processor, as Linux has them; empty if not known."""
    return set(_described("flags").split())


def processor() -> str:
    """Name of the processor, as Linux has it; empty if not known."""
    return _described("model name")


def _described(key: str) -> str:
    """Value of a key in Linux's description of the first processor."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # macOS and Windows
        return ""
    lines = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == key), "")


def peak_memory_gb() -> float:
    """Peak memory of this process so far, in GB (1e9 bytes)."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e9
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
