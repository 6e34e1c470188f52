"""What `make docker` looks at, with the engine that `run` has brought: the programs `docker` and `docker-registry` are in
PATH. For podman, `docker` is podman.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENGINE = os.environ["ENGINE"]
PROJECT = "keyless-checks"  # not the name of somebody's own run of compose.yaml
GATEWAY = f"{PROJECT}-images/gateway"
LOCAL_AZURE = f"{PROJECT}-images/local-azure"
OTHER = f"{PROJECT}-images/other"
DYNAMIC = f"{PROJECT}-images/dynamic"
TOOLS = f"{PROJECT}-images/tools"
OBJECT = "/usr/local/lib/envoy/libkeyless_dynamic_module.so"
OLDEST_GLIBC = (2, 35)  # Envoy's images are of Ubuntu 22.04, with 2.35, and of Debian 12, with 2.36
CHAT = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
STOP_SECONDS = 2  # after that, an engine kills what it was told to stop
KILLED = 137
MANIFESTS = ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"]


def shell(script, folder=ROOT, **environment):
    """Runs lines as if they had been pasted into a shell, and returns what they wrote."""
    environment = os.environ | {"COMPOSE_PROJECT_NAME": PROJECT} | environment
    done = subprocess.run(
        ["bash", "-s"], input=script, cwd=folder, env=environment, text=True, capture_output=True, timeout=1200
    )
    if done.returncode != 0:
        raise AssertionError(f"{script}\nended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def docker(*words, folder=ROOT):
    return shell(shlex.join(["docker", *words]), folder)


def build(target, tag, folder=ROOT):
    docker("build", "--target", target, "--tag", tag, ".", folder=folder)


def block(page, heading):
    """Reads the first block of commands under a heading of a page."""
    section = (ROOT / page).read_text().split(f"\n{heading}\n", 1)[1]
    return re.search(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]


def records(text):
    """Finds the access log's records, with compose's prefix or without, among other lines."""
    found = []
    for line in re.findall(r"^(?:.*\| )?(\{.*\})\r?$", text, re.MULTILINE):
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [record for record in found if "verdict" in record]


def eventually(what):
    """Waits for what may fail with an assertion, or for want of a connection, at first."""
    end = time.monotonic() + 30
    while True:
        try:
            return what()
        except (AssertionError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def answer(address, data=None, accept="*/*", token=None):
    """Returns status and body of what is answered."""
    headers = {"accept": accept, "content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    request = urllib.request.Request(f"http://{address}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answered:
            return answered.status, answered.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


@contextlib.contextmanager
def container(*words):
    """Runs a container of an image while the block lasts."""
    name = docker("run", "--detach", *words).split()[-1]
    try:
        yield name
    finally:
        docker("rm", "--force", "--volumes", name)


@contextlib.contextmanager
def registry():
    """Runs a registry of images on loopback while the block lasts."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        settings = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": f"{folder}/images"}},
            "http": {"addr": address},
        }
        Path(folder, "settings.yml").write_text(json.dumps(settings))
        Path(folder, "registries.conf").write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        os.environ["CONTAINERS_REGISTRIES_CONF"] = f"{folder}/registries.conf"  # podman's
        with open(f"{folder}/log", "w") as log:
            server = subprocess.Popen(["docker-registry", "serve", f"{folder}/settings.yml"], stdout=log, stderr=log)
        try:
            eventually(lambda: answer(f"{address}/v2/"))
            yield address
        finally:
            server.kill()
            server.wait()
            del os.environ["CONTAINERS_REGISTRIES_CONF"]


def file_of(name, path):
    """Reads a file out of a container."""
    packed = subprocess.run(["docker", "cp", f"{name}:{path}", "-"], stdout=subprocess.PIPE, check=True).stdout
    return unpacked(packed, Path(path).name)


def unpacked(packed, name):
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        return files.extractfile(name).read()


def exit_code(name):
    return int(docker("inspect", "--format", "{{.State.ExitCode}}", name))


def copy_of_the_tree(folder):
    """Copies what belongs to the project, as a clean clone has it, and what is new."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def setUpModule():
    print(f"building the images with {ENGINE}", flush=True)
    unittest.addModuleCleanup(docker, "image", "rm", "--force", GATEWAY, LOCAL_AZURE, OTHER)
    unittest.addModuleCleanup(shell, "docker compose down --rmi local --volumes")
    build("local-azure", LOCAL_AZURE)
    build("gateway", GATEWAY)
    docker("tag", LOCAL_AZURE, OTHER)


class TheReadme(unittest.TestCase):
    def test_its_block_pasted_at_once_shows_what_it_says(self):
        shown = shell("exec 2>&1\n" + block("docs/install-docker.md", "## Commands"))
        self.assertRegex(shown, r'(?s)HTTP/1\.1 401 .*"token_missing".*"choices".*my-openai\.openai\.azure\.com')
        verdicts = [(record["verdict"], record["status"]) for record in records(shown)]
        self.assertEqual(verdicts, [("refused", 401), ("admitted", 200)], shown)
        self.assertEqual(docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"), "")

    def test_the_image_of_its_commands_is_pulled_by_the_digest_that_is_printed(self):
        with registry() as address:
            name, digest = self.pushed(address)
            self.is_what_istio_loads(f"{address}/v2/{name}", digest)
            pulled = f"{address}/{name}@{digest}"
            docker("pull", pulled)
            self.addCleanup(docker, "image", "rm", "--force", pulled)
            created = docker("create", pulled, "nothing").split()[-1]
            self.addCleanup(docker, "rm", created)
            self.assertEqual(file_of(created, "/plugin.wasm"), module())

    def pushed(self, address):
        """Builds and pushes as the page says, and returns the image's name and the digest to copy from there."""
        lines = block("istio/README.md", "## 1. The module as an image").replace("registry.example.com", address)
        if ENGINE == "podman":
            lines = lines.replace("docker push", "docker push --digestfile /dev/stdout")  # as the page says, too
        shown = shell(lines)
        image = lines.split()[-1]
        docker("image", "rm", "--force", image)
        return image.split("/")[1].split(":")[0], re.findall(r"sha256:[0-9a-f]{64}", shown)[-1]

    def is_what_istio_loads(self, repository, digest):
        """By the rules of Istio's agent: one manifest for linux/amd64, the module in the last layer, with gzip."""
        _, manifest = answer(f"{repository}/manifests/{digest}", accept=", ".join(MANIFESTS))
        self.assertEqual(f"sha256:{hashlib.sha256(manifest).hexdigest()}", digest)
        manifest = json.loads(manifest)
        self.assertIn(manifest.get("mediaType", MANIFESTS[0]), MANIFESTS)
        _, config = answer(f"{repository}/blobs/{manifest['config']['digest']}")
        config = json.loads(config)
        self.assertEqual((config["os"], config["architecture"]), ("linux", "amd64"))
        layer = manifest["layers"][-1]
        self.assertRegex(layer["mediaType"], "gzip$")
        _, packed = answer(f"{repository}/blobs/{layer['digest']}")
        self.assertEqual(unpacked(packed, "plugin.wasm"), module())


def module():
    """Reads the module that the gateway's image has."""
    created = docker("create", GATEWAY).split()[-1]
    try:
        return file_of(created, "/etc/envoy/keyless.wasm")
    finally:
        docker("rm", created)


class Containers(unittest.TestCase):
    def stops(self, name):
        docker("stop", "--time", str(STOP_SECONDS), name)
        self.assertNotEqual(exit_code(name), KILLED)

    def test_those_of_the_compose_file_become_healthy_and_stop_when_they_are_told_to(self):
        self.addCleanup(shell, "docker compose down")
        shell("docker compose up --build --wait")
        names = shell("docker compose ps --quiet").split()
        self.assertEqual(len(names), 2)
        for name in names:
            self.assertEqual(docker("inspect", "--format", "{{.State.Health.Status}}", name).strip(), "healthy")
            self.stops(name)

    def test_local_azure_needs_no_capability_and_stops_as_the_first_process(self):
        with container("--cap-drop", "ALL", LOCAL_AZURE) as name:
            eventually(lambda: self.assertIn("control http", docker("logs", name)))
            self.stops(name)
            self.assertEqual(exit_code(name), 0)

    def test_the_gateway_takes_the_envoy_yaml_of_the_repository_without_a_capability(self):
        mounted = f"{ROOT}/envoy.yaml:/etc/envoy/envoy.yaml:ro"
        with container("--cap-drop", "ALL", "--volume", mounted, "--publish", "127.0.0.1::8080", GATEWAY) as name:
            address = docker("port", name, "8080/tcp").split()[-1]
            status, body = eventually(lambda: answer(address + CHAT, b"{}"))
            self.assertEqual((status, b"token_missing" in body), (401, True), body)
            eventually(lambda: self.assertEqual([record["status"] for record in records(docker("logs", name))], [401]))
            self.stops(name)


class TheDynamicModule(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.addClassCleanup(docker, "image", "rm", "--force", DYNAMIC, TOOLS)
        build("dynamic", DYNAMIC)
        build("tools", TOOLS)

    def test_the_image_admits_a_caller_and_swaps_its_token(self):
        network = f"{PROJECT}-dynamic"
        docker("network", "create", network)
        self.addCleanup(docker, "network", "rm", network)
        command = re.search(r'command: (\["--listen".*\])', (ROOT / "compose.yaml").read_text())[1]
        stand_ins = ["--network", network, "--network-alias", "local-azure", "--publish", "127.0.0.1::8004", LOCAL_AZURE]
        with tempfile.TemporaryDirectory() as folder, container(*stand_ins, *json.loads(command)) as azure:
            self.write_configuration(Path(folder, "envoy.yaml"))
            control = eventually(lambda: docker("port", azure, "8004/tcp").split()[-1])
            token = eventually(lambda: answer(f"{control}/issuer/token", b""))[1].decode().strip()
            mounted = ["--volume", f"{folder}/envoy.yaml:/etc/envoy/envoy.yaml:ro"]
            options = ["--cap-drop", "ALL", "--read-only", "--network", network, "--publish", "127.0.0.1::8080"]
            with container(*options, *mounted, DYNAMIC) as envoy:
                address = docker("port", envoy, "8080/tcp").split()[-1]
                refused, body = eventually(lambda: answer(address + CHAT, b"{}"))
                self.assertEqual((refused, b"token_missing" in body), (401, True), body)
                admitted, body = answer(address + CHAT, b'{"messages":[]}', token=token)
                self.assertEqual((admitted, b"choices" in body), (200, True), body)
                _, seen = answer(f"{control}/openai/requests")
                self.assertNotIn(token.encode(), seen)
                eventually(lambda: self.assertEqual([record["status"] for record in records(docker("logs", envoy))], [401, 200]))
                docker("stop", "--time", str(STOP_SECONDS), envoy)
                self.assertNotEqual(exit_code(envoy), KILLED)

    def test_every_image_of_envoy_can_load_the_object(self):
        created = docker("create", DYNAMIC).split()[-1]
        self.addCleanup(docker, "rm", created)
        the_object = file_of(created, OBJECT)
        wanted = {tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(\d+\.\d+)\0", the_object)}
        self.assertLessEqual(max(wanted), OLDEST_GLIBC)
        libraries = set(re.findall(rb"\0(lib[a-z_]+\.so\.\d+)(?=\0)", the_object))
        self.assertEqual(libraries, {b"libc.so.6"}, "Envoy's distroless image has no other")

    def write_configuration(self, path):
        """Takes Envoy's configuration for the two containers from where the Dockerfile writes it."""
        created = docker("create", TOOLS).split()[-1]
        self.addCleanup(docker, "rm", created)
        path.write_bytes(file_of(created, "/keyless/target/envoy-dynamic.yaml"))
        path.chmod(0o644)
        path.parent.chmod(0o755)


class Builds(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = Path(folder.name)
        copy_of_the_tree(self.tree)

    def test_a_source_that_changed_is_compiled_though_its_time_is_older(self):
        changed = f"Usage {os.urandom(8).hex()}:"  # not what an earlier run has built
        source = self.tree / "local-azure/src/main.rs"
        source.write_text(source.read_text().replace("Usage:", changed))
        os.utime(source, (1_000_000_000, 1_000_000_000))
        build("local-azure", OTHER, self.tree)
        self.assertIn(changed, docker("run", "--rm", OTHER, "--help"))

    def test_nothing_is_sent_that_is_not_compiled(self):
        stray = [".git/HEAD", ".interop/bin/python", "benches/target/x", "target/main.rs", "tests/interop/node/node_modules/x.rs"]
        for name in stray:
            (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
            (self.tree / name).write_text("stray")
        (self.tree / "Dockerfile").write_text(f"FROM {LOCAL_AZURE}\nCOPY . /context\n")
        docker("build", "--tag", OTHER, ".", folder=self.tree)
        sent = docker("run", "--rm", "--entrypoint", "find", OTHER, "/context", "-type", "f").split()
        sent = {name.removeprefix("/context/") for name in sent}
        self.assertLessEqual({"Cargo.lock", "envoy.yaml", "local-azure/src/main.rs"}, sent)
        self.assertEqual(sent.intersection(stray), set())


def main():
    case = ["-k", os.environ["CASE"]] if os.environ.get("CASE") else []
    program = unittest.main(argv=["checks", *case], exit=False, verbosity=2)
    failed = len(program.result.failures) + len(program.result.errors)
    passed = max(0, program.result.testsRun - failed)  # what fails before the first check is not counted as run
    print(f"{ENGINE}: {passed} passed, {failed} failed")
    raise SystemExit(failed > 0 or passed == 0)


if __name__ == "__main__":
    main()
