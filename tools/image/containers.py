"""Builds, stores and runs images with docker, podman or buildah."""

import functools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

import psutil

SIGNAL_TIMEOUT_SECONDS = 10
SKIP_REASON = "no image can be built here: install docker, podman or buildah (apt-get install buildah)"


class EngineError(Exception):
    """The engine or a container failed; the message says why."""


class Container(Protocol):
    """A command that runs in a container."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing after the command has ended."""
        ...

    def wait(self, timeout: float | None) -> tuple[int, str]:
        """Return exit status and output; the output is empty if `start` redirected it."""
        ...


class Engine(Protocol):
    """A container engine. Containers share this machine's network."""

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None:
        """Build from the Dockerfile of a folder, with the folder as its context."""
        ...

    def id(self, image: str) -> str | None:
        """Return an id that survives a copy to a registry and back; None if there is no such image."""
        ...

    def save(self, image: str, file: Path) -> None:
        """Write the image, with its name, as a docker-archive (`docker load` and skopeo read it)."""
        ...

    def push(self, image: str) -> None:
        """Push the image to the registry in its name, a local one without TLS."""
        ...

    def pull(self, image: str) -> None:
        """Pull the image from the registry in its name."""
        ...

    def remove(self, image: str) -> None: ...

    def config(self, image: str) -> dict[str, Any]:
        """The image's OCI configuration: Cmd, Env, User, Labels …"""
        ...

    def start(
        self,
        image: str,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        output: IO[bytes] | None = None,
        read_only: bool = False,
    ) -> Container:
        """Start a command as the image's user in its working folder.

        Args:
            image: name of the image.
            command: program and arguments, run without a shell.
            environment: added to the image's own.
            output: receives standard output and error; None: wait() returns them.
            read_only: the file system is read-only.
        """
        ...


class Docker:
    """docker, or podman, which takes the same arguments."""

    def __init__(self, program: str) -> None:
        self._program = program

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None:
        build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        _output(self._program, "build", "--tag", tag, *build_arguments, folder)

    def id(self, image: str) -> str | None:
        """Return the creation time and the layers.

        Docker's Id doesn't survive a copy: in the containerd image store it is the digest of the manifest, which skopeo
        rewrites when it copies the image to a registry (moby/moby v29.7.2, daemon/containerd/image_inspect.go).
        """
        inspected = _output_or_none(self._program, "image", "inspect", image)
        if inspected is None:
            return None
        (details,) = json.loads(inspected)
        return " ".join([details["Created"], *details["RootFS"]["Layers"]])

    def save(self, image: str, file: Path) -> None:
        # docker has only this format, and no such option.
        format_ = ["--format=docker-archive"] if self._program == "podman" else []
        file.unlink(missing_ok=True)
        _output(self._program, "save", *format_, "--output", file, image)

    def push(self, image: str) -> None:
        _output(self._program, "push", *self._without_tls(), image)

    def pull(self, image: str) -> None:
        _output(self._program, "pull", *self._without_tls(), image)

    def remove(self, image: str) -> None:
        _output(self._program, "rmi", "--force", image)

    def _without_tls(self) -> list[str]:
        return ["--tls-verify=false"] if self._program == "podman" else []  # docker doesn't require TLS of 127.0.0.1

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(_output(self._program, "image", "inspect", image))[0]["Config"]
        return config

    def start(
        self,
        image: str,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        output: IO[bytes] | None = None,
        read_only: bool = False,
    ) -> Container:
        name = f"audifi-{uuid4().hex}"
        options = [
            "--rm",
            "--pull=never",
            f"--name={name}",
            "--network=host",
            "--cap-drop=ALL",
            *(["--read-only"] if read_only else []),
        ]
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        process = _start(output, self._program, "run", *options, *variables, image, *command)
        return _DockerContainer(self._program, name, process)


class _DockerContainer:
    def __init__(self, program: str, name: str, process: subprocess.Popen[str]) -> None:
        self._program, self._name, self._process = program, name, process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. `kill` fails until `run` has created the container, so it is repeated until then."""
        deadline = time.monotonic() + SIGNAL_TIMEOUT_SECONDS
        while self._process.poll() is None:
            try:
                _output(self._program, "kill", f"--signal={number.name}", self._name)
            except EngineError:
                if time.monotonic() > deadline:
                    raise
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(0.1)
            else:
                return

    def wait(self, timeout: float | None) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, output or ""


class Buildah:
    """Needs no daemon and no privileges beyond chroot, so it also works inside a container or a small VM."""

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None:
        build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        # No --layers: buildah's cache (1.28) reuses an ENV or LABEL whose ARG has changed, and the image would name
        # another commit. --format: archives have docker's format; a conversion would change the id.
        options = ["--pull=ifmissing", "--quiet", "--format=docker", "--tag", tag]
        _output("buildah", "bud", *options, *build_arguments, folder)

    def id(self, image: str) -> str | None:
        return _output_or_none("buildah", "inspect", "--type=image", "--format={{.FromImageID}}", image)

    def save(self, image: str, file: Path) -> None:
        file.unlink(missing_ok=True)  # buildah can't write to an existing archive
        _output("buildah", "push", "--quiet", image, f"docker-archive:{file}:{image}")

    def push(self, image: str) -> None:
        _output("buildah", "push", "--quiet", "--tls-verify=false", image, f"docker://{image}")

    def pull(self, image: str) -> None:
        _output("buildah", "pull", "--quiet", "--tls-verify=false", f"docker://{image}")

    def remove(self, image: str) -> None:
        _output("buildah", "rmi", image)

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(_output("buildah", "inspect", "--type=image", image))["OCIv1"]["config"]
        return config

    def start(
        self,
        image: str,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        output: IO[bytes] | None = None,
        read_only: bool = False,
    ) -> Container:
        """Buildah can't mount read-only, so `wait` compares the container's files instead."""
        container = _output("buildah", "from", "--pull-never", image).strip()
        files = _files(container) if read_only else None
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        process = _start(output, "buildah", "run", *variables, container, "--", *command)
        return _BuildahContainer(container, files, process)


class _BuildahContainer:
    def __init__(self, container: str, files: set[tuple[str, int]] | None, process: subprocess.Popen[str]) -> None:
        self._container, self._files, self._process = container, files, process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the innermost process; its parents belong to buildah."""
        with suppress(psutil.NoSuchProcess, ValueError):  # ValueError: it has no children anymore
            *_, innermost = psutil.Process(self._process.pid).children(recursive=True)
            innermost.send_signal(number)

    def wait(self, timeout: float | None) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=timeout)
        written = set() if self._files is None else _files(self._container) - self._files
        _output("buildah", "rm", self._container)
        if written:
            raise EngineError(f"the container has written to its file system: {written}")
        return self._process.returncode, output or ""


def _files(container: str) -> set[tuple[str, int]]:
    """Return each file with its modification time, except in buildah's own mounts."""
    root = Path(_output("buildah", "mount", container).strip())
    mounts = {root / name for name in ("proc", "sys", "dev", "run", "etc")}
    return {
        (str(file.relative_to(root)), file.lstat().st_mtime_ns)
        for top in root.iterdir()
        if top not in mounts
        for file in (top, *top.rglob("*"))
        if not file.is_dir()
    }


@functools.cache
def engine() -> Engine | None:
    """Return the first engine that works on this machine."""
    for program in ("docker", "podman"):
        if shutil.which(program) and _output_or_none(program, "info") is not None:
            return Docker(program)
    return Buildah() if shutil.which("buildah") else None


def _environment() -> dict[str, str]:
    """Return the environment of this process, with defaults for the engines.

    BUILDX_NO_DEFAULT_ATTESTATIONS: BuildKit would wrap the image in an index with a provenance attestation, which is
    different in each build and which Fly doesn't use (https://docs.docker.com/build/building/variables/).
    """
    defaults = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    return defaults | os.environ


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def _output_or_none(*command: str) -> str | None:
    """Return the output of a command; None if it failed."""
    try:
        return _output(*command).strip()
    except EngineError:
        return None


def _start(output: IO[bytes] | None, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=_environment(),
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
