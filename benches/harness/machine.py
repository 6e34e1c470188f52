"""The machine: which core does what, what CPU time processes took, what is installed."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cores:
    """Who runs where. With two cores an ext_authz service shares the load generator's."""

    envoy: int
    load: int
    service: int


def cores() -> Cores:
    """Returns one core for Envoy, another for the load generator, and a third one if there is."""
    free = sorted(os.sched_getaffinity(0))
    if len(free) < 2:
        raise SystemExit("the benchmarks need two cores: one for Envoy, one for the load generator")
    return Cores(free[0], free[1], free[2] if len(free) > 2 else free[1])


CORES = cores()


def cpu_time(pid: int) -> int:
    """Returns the CPU time of all threads of a process so far, in ns, as the scheduler counts it."""
    total = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        total += int((thread / "schedstat").read_text().split()[0])
    return total


def resident(pid: int) -> int:
    """Returns a process's resident memory, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def busy(core: int) -> tuple[float, float]:
    """Returns for how many seconds a core has worked so far, and been stolen by the hypervisor."""
    line = re.search(rf"^cpu{core} (.*)$", Path("/proc/stat").read_text(), re.MULTILINE)[1]
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(n) for n in line.split()[:8])
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def output(*command: str) -> str:
    """Returns what a command prints, or nothing if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).strip()
    except OSError:
        return ""


def description(envoy: Path, root: Path) -> dict[str, str]:
    """Returns what a reader must know about the machine and the versions."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    system = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    changed = output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    commit = output("git", "-C", str(root), "rev-parse", "--short", "HEAD")
    virtual = output("systemd-detect-virt")
    return {
        "CPU": f"{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores"
        + (f", virtual ({virtual})" if virtual not in ("", "none") else ""),
        "memory": f"{memory / 2**20:.0f} GiB",
        "system": f"{system[1] if system else ''}, Linux {platform.release()}",
        "Envoy": output(str(envoy), "--version").split("version:")[-1].strip(),
        "wrk": output("wrk", "--version").splitlines()[0].split(" Copyright")[0],
        "rustc": output("rustc", "--version"),
        "keyless": f"commit {commit}" + (" with changes that are not committed" if changed else ""),
    }
