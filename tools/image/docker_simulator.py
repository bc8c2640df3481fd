"""Simulates Docker 29 with BuildKit and the containerd image store, on top of buildah.

    python -m tools.image.docker_simulator STATE build --tag NAME FOLDER

It tests the code for docker on machines without a Docker daemon. It accepts the commands and options that tools/image
uses, and refuses others. STATE is its folder. It needs root, buildah and skopeo.

Simulated behaviour, with sources (moby/moby v29.7.2):

- A build tags only the built image: the base isn't in the store (moby/moby#39229, moby/buildkit#1537).
- It wraps the image in an index with a provenance attestation unless BUILDX_NO_DEFAULT_ATTESTATIONS is set
  (docs.docker.com/build/building/variables).
- `image inspect`: Id is the digest of the index or manifest; Size is the size of the packed content (until
  moby/moby#53426 of August 2026); empty fields of Config are left out (daemon/containerd/image_inspect.go).
- `save` writes an OCI layout with packed layers, and manifest.json (daemon/containerd/image_exporter.go).
- `run`: the command is process 1 of its PID namespace, so a signal without a handler is ignored (kill(2),
  pid_namespaces(7)); --read-only holds for /tmp, too; exit status 125 when the container can't be made, 127 when its
  command isn't found (docs.docker.com/reference/cli/docker/container/run). Without --pull=never an unknown image is
  looked up in its registry.
- `kill` fails before the container is created, and after it has ended.
"""

import argparse
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

CANT_MAKE, NOT_FOUND = 125, 127
NAME = "org.opencontainers.image.ref.name"


class DaemonError(Exception):
    """An error of the Docker daemon."""


class Store:
    """The image store: an OCI layout whose index.json lists the named images."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "images"
        self.folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> dict[str, Any]:
        """Return the descriptor of an image."""
        for each in self._index():
            if self._name(each) == name:
                return each
        raise DaemonError(f"Error response from daemon: No such image: {name}")

    def remove(self, name: str) -> None:
        self._write_index([each for each in self._index() if self._name(each) != name])

    def manifest(self, descriptor: dict[str, Any]) -> dict[str, Any]:
        """Return the manifest of the image itself, also if it is in an index with an attestation."""
        content: dict[str, Any] = json.loads(self.blob(descriptor["digest"]).read_text())
        return self.manifest(content["manifests"][0]) if "manifests" in content else content

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "/")

    def wrap(self, name: str) -> None:
        """Replace the image by an index of the image and a provenance attestation."""
        image = {key: value for key, value in self.find(name).items() if key != "annotations"}
        config = self._add(b'{"architecture":"unknown","os":"unknown"}', "application/vnd.oci.image.config.v1+json")
        provenance = self._add(os.urandom(16), "application/vnd.in-toto+json")
        manifest = {"schemaVersion": 2, "mediaType": image["mediaType"], "config": config, "layers": [provenance]}
        attestation = self._add(json.dumps(manifest).encode(), image["mediaType"])
        mark = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
        type_ = "application/vnd.oci.image.index.v1+json"
        index = {"schemaVersion": 2, "mediaType": type_, "manifests": [image, {**attestation, "annotations": mark}]}
        wrapped = self._add(json.dumps(index).encode(), type_)
        self.remove(name)
        named = {**wrapped, "annotations": {NAME: name}}
        self._write_index([*self._index(), named])

    def _add(self, content: bytes, type_: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blob(digest).write_bytes(content)
        return {"mediaType": type_, "digest": digest, "size": len(content)}

    @staticmethod
    def _name(descriptor: dict[str, Any]) -> str:
        """Return the name, or an empty string if skopeo has replaced the image."""
        return str(descriptor.get("annotations", {}).get(NAME, ""))

    def _index(self) -> list[dict[str, Any]]:
        file = self.folder / "index.json"
        return list(json.loads(file.read_text())["manifests"]) if file.exists() else []

    def _write_index(self, manifests: list[dict[str, Any]]) -> None:
        index = {"schemaVersion": 2, "manifests": manifests}
        (self.folder / "index.json").write_text(json.dumps(index))


def build(store: Store, options: argparse.Namespace) -> None:
    hidden = f"localhost/docker-simulator:{os.getpid()}"
    arguments = [f"--build-arg={each}" for each in options.build_arg]
    run("buildah", "bud", "--pull-never", "--quiet", "--format=oci", "--tag", hidden, *arguments, options.folder)
    store.remove(options.tag)
    run("buildah", "push", "--quiet", "--compression-format=gzip", hidden, f"oci:{store.folder}:{options.tag}")
    run("buildah", "rmi", hidden)
    if not os.environ.get("BUILDX_NO_DEFAULT_ATTESTATIONS"):
        store.wrap(options.tag)


def inspect(store: Store, options: argparse.Namespace) -> None:
    descriptor = store.find(options.image)
    manifest = store.manifest(descriptor)
    image = json.loads(store.blob(manifest["config"]["digest"]).read_text())
    described: dict[str, Any] = {
        "Id": descriptor["digest"],
        "RepoTags": [options.image],
        "Created": image["created"],
        "Size": sum(each["size"] for each in (manifest["config"], *manifest["layers"])),
        "Config": {key: value for key, value in image["config"].items() if value},
        "RootFS": {"Type": "layers", "Layers": image["rootfs"]["diff_ids"]},
    }
    if not options.format:
        print(json.dumps([described], indent=4))
    else:
        print(described[str(options.format)[3:-2]])


def save(store: Store, options: argparse.Namespace) -> None:
    descriptor = store.find(options.image)
    manifest = store.manifest(descriptor)

    def path(digest: str) -> str:
        return f"blobs/{digest.replace(':', '/')}"

    config = path(manifest["config"]["digest"])
    layers = [path(each["digest"]) for each in manifest["layers"]]
    with tempfile.TemporaryDirectory() as folder, tarfile.open(options.output, "w") as archive:
        files = {
            "manifest.json": [{"Config": config, "RepoTags": [options.image], "Layers": layers}],
            "index.json": {"schemaVersion": 2, "manifests": [descriptor]},
            "oci-layout": {"imageLayoutVersion": "1.0.0"},
        }
        for name, value in files.items():
            file = Path(folder, name)
            file.write_text(json.dumps(value))
            archive.add(file, name)
        for blob in dict.fromkeys([path(descriptor["digest"]), config, *layers]):
            archive.add(store.folder / blob, blob)


def push(store: Store, options: argparse.Namespace) -> None:
    store.find(options.image)
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{store.folder}:{options.image}", f"docker://{options.image}")


def pull(store: Store, options: argparse.Namespace) -> None:
    store.remove(options.image)
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{options.image}", f"oci:{store.folder}:{options.image}")


def remove(store: Store, options: argparse.Namespace) -> None:
    store.remove(options.image)


def start(store: Store, options: argparse.Namespace) -> int:
    """Run a command in a container; return its exit status."""
    try:
        descriptor = store.find(options.image)
    except DaemonError as error:
        if options.pull == "never":
            raise
        message = f"Unable to find image '{options.image}' locally\ndocker: Error response from daemon: failed to pull"
        raise DaemonError(message) from error
    manifest = store.manifest(descriptor)
    config = json.loads(store.blob(manifest["config"]["digest"]).read_text())["config"]
    command = [*(config.get("Entrypoint") or []), *(options.command or config["Cmd"])]
    with container_root(store, manifest) as (root, scratch):
        # In a separate process: its mounts end with it, before their folder is removed.
        if not (process := os.fork()):
            status = CANT_MAKE
            try:
                status = contain(options, config, command, root, scratch)
            except DaemonError as error:
                print(error, file=sys.stderr)
            finally:
                os._exit(status)
        _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def contain(options: argparse.Namespace, config: dict[str, Any], command: list[str], root: str, scratch: Path) -> int:
    """Run a command in new namespaces; return its exit status."""
    inside = scratch / "root"
    os.unshare(os.CLONE_NEWNS)
    run("mount", "--make-rprivate", "/")
    overlay = f"lowerdir={root},upperdir={scratch}/upper,workdir={scratch}/work"
    run("mount", "-t", "overlay", "overlay", "-o", overlay, inside)
    run("mount", "--bind", "/dev", inside / "dev")
    for name in ("resolv.conf", "hosts"):
        (inside / "etc" / name).touch()
        run("mount", "--bind", f"/etc/{name}", inside / "etc" / name)
    if options.read_only:
        run("mount", "-o", "remount,ro", inside)
    os.unshare(os.CLONE_NEWPID)  # the next child is process 1, and the namespace ends with it
    if not (process := os.fork()):
        run("mount", "-t", "proc", "proc", inside / "proc")
        os.chroot(inside)
        os.chdir(config.get("WorkingDir") or "/")
        user, _, group = (config.get("User") or "0:0").partition(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
        execute(command, dict(each.split("=", 1) for each in [*config.get("Env", []), *options.env]))
    with known_as(options.state, options.name, process):
        _, status = os.waitpid(process, 0)
    status = os.waitstatus_to_exitcode(status)
    return 128 - status if status < 0 else status


@contextmanager
def container_root(store: Store, manifest: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the unpacked layers as an overlay, and a folder for the container's writes."""
    layers: list[str] = []
    for layer in manifest["layers"]:
        folder = store.folder / "unpacked" / layer["digest"].replace(":", "-")
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=folder.parent))
            with gzip.open(store.blob(layer["digest"])) as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
                archive.extractall(part, filter="fully_trusted", numeric_owner=True)  # noqa: S202 - our own build
            part.chmod(0o755)
            part.rename(folder)
        layers.insert(0, str(folder))
    with tempfile.TemporaryDirectory(dir=store.folder) as scratch:
        for name in ("upper", "work", "root"):
            Path(scratch, name).mkdir(mode=0o755)
        yield ":".join(layers), Path(scratch)


def execute(command: list[str], variables: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, variables)  # noqa: S606 - a container replaces the process
    except OSError as error:
        print(f"docker: Error response from daemon: {command[0]}: {error}", file=sys.stderr)
        os._exit(NOT_FOUND)


@contextmanager
def known_as(state: Path, name: str, process: int) -> Iterator[None]:
    file = state / "containers" / name
    file.parent.mkdir(exist_ok=True)
    file.with_suffix(".new").write_text(str(process))
    file.with_suffix(".new").rename(file)
    try:
        yield
    finally:
        file.unlink()


def kill(_: Store, options: argparse.Namespace) -> None:
    try:
        process = int((options.state / "containers" / options.name).read_text())
        os.kill(process, signal.Signals[options.signal])
    except (FileNotFoundError, ProcessLookupError):
        message = f"Error response from daemon: cannot kill container: {options.name}: No such container"
        raise DaemonError(message) from None


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DaemonError(f"{' '.join(map(str, command))}: {done.stderr}")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("state", type=Path)
    commands = parser.add_subparsers(dest="does", required=True)
    commands.add_parser("info").set_defaults(call=lambda *_: None)
    command = commands.add_parser("build")
    command.add_argument("--tag", required=True)
    command.add_argument("--build-arg", action="append", default=[])
    command.add_argument("folder")
    command.set_defaults(call=build)
    command = commands.add_parser("image").add_subparsers(required=True).add_parser("inspect")
    command.add_argument("--format", help="{{.Field}}")
    command.add_argument("image")
    command.set_defaults(call=inspect)
    command = commands.add_parser("save")
    command.add_argument("--output", required=True)
    command.add_argument("image")
    command.set_defaults(call=save)
    for name, call in (("push", push), ("pull", pull), ("rmi", remove)):
        command = commands.add_parser(name)
        if call is remove:
            command.add_argument("--force", action="store_true", required=True)
        command.add_argument("image")
        command.set_defaults(call=call)
    command = commands.add_parser("run")
    for name in ("--rm", "--read-only"):
        command.add_argument(name, action="store_true")
    command.add_argument("--pull", default="missing")
    command.add_argument("--name", required=True)
    command.add_argument("--network", choices=["host"], required=True)
    command.add_argument("--cap-drop", choices=["ALL"], required=True)
    command.add_argument("--env", action="append", default=[])
    command.add_argument("image")
    command.add_argument("command", nargs=argparse.REMAINDER)
    command.set_defaults(call=start)
    command = commands.add_parser("kill")
    command.add_argument("--signal", required=True)
    command.add_argument("name")
    command.set_defaults(call=kill)
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        return options.call(Store(options.state), options) or 0
    except DaemonError as error:
        print(error, file=sys.stderr)
        return CANT_MAKE if options.call is start else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
