"""Envoy processes: one for each contender, alike in everything but the filters."""

import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .chains import CHAINS, TYPE, Files, Json
from .machine import CORES
from .services import free_port, rival, wait_for_port
from .world import IDENTITY, World

PROBE = "probe"
"""The virtual host that tells, in a response header, which `Authorization` the router sees."""
SEARCH_PATH = "ENVOY_DYNAMIC_MODULES_SEARCH_PATH"
"""Where Envoy looks for dynamic modules."""
SEEN = "x-seen"


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    envoy: Path
    work: Path
    files: Files


def cluster(name: str, port: int, http2: bool = False) -> Json:
    """Returns a cluster of one host on loopback."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    hosts = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    made: Json = {"name": name, "type": "STATIC"}
    made["load_assignment"] = {"cluster_name": name, "endpoints": hosts}
    if http2:
        options = TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        protocol = {"@type": options, "explicit_http_config": {"http2_protocol_options": {}}}
        made["typed_extension_protocol_options"] = {options.removeprefix(TYPE): protocol}
    return made


def bootstrap(filters: list[Json], clusters: list[Json], secrets: list[Json], port: int, body: str) -> Json:
    """Returns Envoy's configuration. With a cluster `backend` requests go there; otherwise Envoy
    answers by itself, which leaves nobody else's time in the measurement."""
    router = {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}
    filters = [*filters, {"name": "envoy.filters.http.router", "typed_config": router}]
    answer: Json = {"direct_response": {"status": 200}}
    if body:
        answer["direct_response"] = {"status": 200, "body": {"inline_string": body}}
        kind = {"header": {"key": "content-type", "value": "application/json"}}
        answer["response_headers_to_add"] = [{**kind, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    seen = {"header": {"key": SEEN, "value": "%REQ(authorization)%"}}
    probe = {"match": {"prefix": "/"}, "direct_response": {"status": 200}, "response_headers_to_add": [seen]}
    if any(each["name"] == "backend" for each in clusters):
        answer = {"route": {"cluster": "backend", "timeout": "0s"}}
    hosts = [
        {"name": "probe", "domains": [PROBE], "routes": [probe]},
        {"name": "bench", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **answer}]},
    ]
    manager = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    settings: Json = {"@type": TYPE + manager, "stat_prefix": "bench", "http_filters": filters}
    settings["route_config"] = {"virtual_hosts": hosts}
    chain = {"filters": [{"name": "http", "typed_config": settings}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    admin = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    listener = {"name": "bench", "address": address, "filter_chains": [chain]}
    resources: Json = {"listeners": [listener], "clusters": clusters, "secrets": secrets}
    return {"admin": {"address": admin}, "static_resources": resources}


class Envoy(AbstractContextManager["Envoy"]):
    """A running Envoy with one chain, and what belongs to it."""

    def __init__(
        self,
        bench: Bench,
        name: str,
        world: World,
        *,
        filters: list[Json] | None = None,
        workers: int = 1,
        backend: int | None = None,
        body: str = "",
        cores: tuple[int, ...] = (CORES.envoy,),
        options: tuple[str, ...] = (),
        wait: bool = True,
    ) -> None:
        self.bench, self.chain = bench, CHAINS[name]
        self.port = free_port()
        service = self.chain.service
        self.rival = rival(bench.files, bench.work, service) if service else None
        clusters = [cluster("world", world.port)]
        if backend:
            clusters.append(cluster("backend", backend))
        if self.rival and service:
            clusters.append(cluster(service.cluster, self.rival.port, http2=service.is_grpc))
        filters = self.chain.filters(bench.files) if filters is None else filters
        config = bootstrap(filters, clusters, self.chain.secrets, self.port, body)
        folder = bench.work / f"envoy-{name}-{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "envoy.json").write_text(json.dumps(config, indent=1))
        self.log = folder / "envoy.log"
        self._admin = folder / "admin"
        command = ["taskset", "-c", ",".join(map(str, cores)), bench.envoy, "-c", folder / "envoy.json"]
        command += ["--concurrency", str(workers), "--use-dynamic-base-id", "-l", "warning"]
        command += ["--admin-address-path", self._admin, "--log-path", self.log, *options]
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, SEARCH_PATH: str(bench.files.dynamic.parent)},
        )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Waits until the workers accept connections."""
        deadline = time.monotonic() + 60
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = self.log.read_text()[-3000:] if self.log.exists() else ""
                raise RuntimeError(f"Envoy does not start:\n{log}")
            try:
                if self.admin("/ready").startswith("LIVE"):
                    return wait_for_port(self.port, self.process)
            except (OSError, urllib.error.URLError):
                time.sleep(0.02)

    def admin(self, path: str) -> str:
        """Returns what the admin port answers."""
        address = self._admin.read_text().strip()
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.read().decode()

    def counters(self) -> dict[str, int]:
        """Returns all counters and gauges that were ever used."""
        lines = re.findall(r"^(.*): (\d+)$", self.admin("/stats?usedonly"), re.MULTILINE)
        return {name: int(value) for name, value in lines}

    def cpu_time(self) -> int:
        """Returns the CPU time of all of Envoy's threads so far, in ns."""
        return machine.cpu_time(self.process.pid)

    def rival_time(self) -> int:
        """Returns the CPU time of the service that Envoy asks, in ns."""
        return self.rival.cpu_time() if self.rival else 0

    def resident(self) -> int:
        """Returns the resident memory, in bytes."""
        return machine.resident(self.process.pid)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.rival:
            self.rival.__exit__()


def expected_authorization() -> str:
    """Returns what the backend must see when the caller's token was swapped."""
    return f"Bearer {IDENTITY}"
