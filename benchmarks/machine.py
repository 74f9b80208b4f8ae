"""What a reader needs to place the figures; neither the machine's name nor its paths."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from contenders import Tools

PEERS = ("rsync", "cp", "rclone", "unison")


def machine(tools: Tools) -> dict[str, str]:
    """What stays the same from run to run: figures with other values here do not belong together."""
    return {
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "CPU": _first("/proc/cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.1f} GB",
        "Python": platform.python_version(),
        **{program: tools.version(program) for program in PEERS},
    }


def now() -> str:
    """The minute, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def environment(tools: Tools) -> list[tuple[str, str]]:
    """All of it, and what else the machine does now."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    fixed = machine(tools)
    return [
        ("date", now()),
        *((name, fixed.pop(name)) for name in ("kernel", "CPU", "cores", "memory")),
        ("load before (1, 5, 15 min)", load),
        ("Python", fixed.pop("Python")),
        ("atomsync", tools.version("atomsync")),
        *fixed.items(),
    ]


def _first(file: str, key: str) -> str:
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return "unknown"
