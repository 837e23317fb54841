"""What the figures were measured on: processor, memory, versions, and how busy it was before."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from pathlib import Path
from typing import Any

BUSY_LOAD = 1.0
BUSY_CORES = 0.25
LOOK_S = 0.5


def describe() -> dict[str, Any]:
    """The machine as it is now; `load_before` is the load average of the last minute."""
    load = os.getloadavg()[0]
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "load_before": round(load, 2),
        "busy": load > BUSY_LOAD,
    }


def before_a_group(machine: dict[str, Any]) -> dict[str, Any]:
    """`machine` with how many cores others keep busy at this moment, while nothing of ours runs."""
    first, began = _busy_s(), time.monotonic()
    time.sleep(LOOK_S)
    cores = max(0.0, (_busy_s() - first) / (time.monotonic() - began))
    return {**machine, "others_cores": round(cores, 2), "busy": machine["busy"] or cores > BUSY_CORES}


def _busy_s() -> float:
    """Seconds of CPU that the whole machine has spent since it started; 0 where it does not tell."""
    told = Path("/proc/stat")
    if not told.exists():
        return 0.0
    user, nice, system, _idle, _wait, irq, soft = map(int, told.read_text().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def warning(machine: dict[str, Any]) -> str:
    """What to say of a busy machine; empty for an idle one."""
    if not machine["busy"]:
        return ""
    return (
        f"WARNING: others were at work (load average {machine['load_before']} before the first measurement, "
        f"{machine.get('others_cores', 0)} cores at this moment); such figures are worse than the product"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
