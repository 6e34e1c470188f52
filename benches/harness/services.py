"""The services beside Envoy that some contenders ask, on a core of their own if there are three."""

import json
import os
import socket
import subprocess
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from . import machine
from .chains import UNITS, Files, RateLimit, Service
from .machine import CORES


class Rival(AbstractContextManager["Rival"]):
    """The processes of a service, and the port where Envoy reaches it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.processes: list[subprocess.Popen] = []

    def start(self, port: int, *command: object, **environment: str) -> None:
        """Starts one process, and waits until it listens."""
        pinned = ["taskset", "-c", str(CORES.service), *map(str, command)]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(pinned, stdout=quiet, stderr=quiet, env={**os.environ, **environment})
        self.processes.append(process)
        wait_for_port(port, process)

    def cpu_time(self) -> int:
        """Returns the CPU time of all its threads so far, in ns."""
        return sum(machine.cpu_time(process.pid) for process in self.processes)

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def rival(files: Files, work: Path, service: Service | RateLimit) -> Rival:
    """Starts a service."""
    return authz(files, service) if isinstance(service, Service) else ratelimit(files, work)


def authz(files: Files, service: Service) -> Rival:
    """Starts the ext_authz service."""
    made = Rival(free_port())
    options = ["--protocol", service.protocol, "--port", made.port, "--remember", service.remember]
    made.start(made.port, files.authz, *options, "--jwks", files.jwks, "--identity", files.identity)
    return made


def ratelimit(files: Files, work: Path) -> Rival:
    """Starts Redis and the service, with three limits that nobody reaches."""
    folder = Path(tempfile.mkdtemp(prefix="ratelimit-", dir=work))
    (folder / "ratelimit" / "config").mkdir(parents=True)
    limits = [limit(unit) for unit in UNITS]
    # YAML reads JSON.
    file = folder / "ratelimit" / "config" / "bench.yaml"
    file.write_text(json.dumps({"domain": "bench", "descriptors": limits}))
    made, redis = Rival(free_port()), free_port()
    options = ["--save", "", "--bind", "127.0.0.1", "--dir", folder]
    made.start(redis, "redis-server", "--port", redis, *options)
    ports = {"GRPC_PORT": made.port, "PORT": free_port(), "DEBUG_PORT": free_port()}
    hosts = {"GRPC_HOST": "127.0.0.1", "HOST": "127.0.0.1", "DEBUG_HOST": "127.0.0.1"}
    made.start(
        made.port,
        files.ratelimit,
        **{name: str(port) for name, port in ports.items()},
        **hosts,
        REDIS_SOCKET_TYPE="tcp",
        REDIS_URL=f"127.0.0.1:{redis}",
        RUNTIME_ROOT=str(folder),
        RUNTIME_SUBDIRECTORY="ratelimit",
        RUNTIME_WATCH_ROOT="false",
        USE_STATSD="false",
        LOG_LEVEL="warn",
    )
    return made


def limit(unit: str) -> dict[str, object]:
    """Returns a limit of each caller in the service's words."""
    most = {"unit": unit, "requests_per_unit": 1_000_000_000}
    issuer = {"key": "issuer", "descriptors": [{"key": "subject", "rate_limit": most}]}
    return {"key": "window", "value": unit, "descriptors": [issuer]}


def free_port() -> int:
    """Returns a port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen) -> None:
    """Waits until somebody accepts connections there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args} does not listen") from None
            time.sleep(0.01)
