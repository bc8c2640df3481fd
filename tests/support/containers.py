"""docker, podman or buildah, whichever works here, for building one image and running what is in it."""

import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import psutil

SKIP_REASON = "no image can be built here: install docker, podman or buildah (apt-get install buildah)"


class Container(Protocol):
    """A command that runs in a container."""

    def signal(self, number: signal.Signals) -> None: ...

    def wait(self, timeout: float) -> tuple[int, str]:
        """Exit status and output."""
        ...


class Engine(Protocol):
    """Builds and runs. Containers share this machine's network."""

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None: ...

    def config(self, image: str) -> dict[str, Any]:
        """The image's OCI configuration: Cmd, Env, User, Labels …"""
        ...

    def size_bytes(self, image: str) -> int: ...

    def start(self, image: str, command: Sequence[str], environment: dict[str, str]) -> Container:
        """Run a command as the image's user in its folder, unable to write to its file system."""
        ...


class Docker:
    """docker, or podman, which takes the same arguments."""

    def __init__(self, program: str) -> None:
        self._program = program

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None:
        build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        _output(self._program, "build", "--tag", tag, *build_arguments, folder)

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(_output(self._program, "image", "inspect", image))[0]["Config"]
        return config

    def size_bytes(self, image: str) -> int:
        return int(json.loads(_output(self._program, "image", "inspect", image))[0]["Size"])

    def start(self, image: str, command: Sequence[str], environment: dict[str, str]) -> Container:
        name = f"audifi-test-{uuid4().hex}"
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        options = ["--rm", f"--name={name}", "--network=host", "--read-only", "--cap-drop=ALL", *variables]
        process = _start(self._program, "run", *options, image, *command)
        return _DockerContainer(self._program, name, process)


class _DockerContainer:
    def __init__(self, program: str, name: str, process: subprocess.Popen[str]) -> None:
        self._program, self._name, self._process = program, name, process

    def signal(self, number: signal.Signals) -> None:
        _output(self._program, "kill", f"--signal={number.name}", self._name)

    def wait(self, timeout: float) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, output


class Buildah:
    """Needs no daemon and no privileges beyond chroot, so it also works inside a container or a small VM."""

    def build(self, folder: Path, tag: str, arguments: dict[str, str]) -> None:
        build_arguments = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        _output("buildah", "bud", "--pull=ifmissing", "--quiet", "--tag", tag, *build_arguments, folder)

    def config(self, image: str) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(_output("buildah", "inspect", "--type=image", image))["OCIv1"]["config"]
        return config

    def size_bytes(self, image: str) -> int:
        with self._mounted(image) as (_, root):
            return int(_output("du", "--summarize", "--bytes", root).split()[0])

    def start(self, image: str, command: Sequence[str], environment: dict[str, str]) -> Container:
        """Buildah can't mount read-only; instead the container's files are compared when it has ended."""
        container = _output("buildah", "from", "--pull-never", image).strip()
        variables = [f"--env={name}={value}" for name, value in environment.items()]
        process = _start("buildah", "run", *variables, container, "--", *command)
        return _BuildahContainer(container, _files(container), process)

    @contextmanager
    def _mounted(self, image: str) -> Iterator[tuple[str, Path]]:
        container = _output("buildah", "from", "--pull-never", image).strip()
        try:
            yield container, Path(_output("buildah", "mount", container).strip())
        finally:
            _output("buildah", "rm", container)


class _BuildahContainer:
    def __init__(self, container: str, files: set[tuple[str, int]], process: subprocess.Popen[str]) -> None:
        self._container, self._files, self._process = container, files, process

    def signal(self, number: signal.Signals) -> None:
        """To the innermost process; those around it are buildah's."""
        *_, innermost = psutil.Process(self._process.pid).children(recursive=True)
        innermost.send_signal(number)

    def wait(self, timeout: float) -> tuple[int, str]:
        output, _ = self._process.communicate(timeout=timeout)
        written = _files(self._container) - self._files
        _output("buildah", "rm", self._container)
        assert not written, f"it has written to its file system: {written}"
        return self._process.returncode, output


def _files(container: str) -> set[tuple[str, int]]:
    """Each file with the time of its last change, but for what buildah mounts itself."""
    root = Path(_output("buildah", "mount", container).strip())
    own = {root / name for name in ("proc", "sys", "dev", "run", "etc")}
    return {
        (str(file.relative_to(root)), file.lstat().st_mtime_ns)
        for top in root.iterdir()
        if top not in own
        for file in (top, *top.rglob("*"))
        if not file.is_dir()
    }


@functools.cache
def engine() -> Engine | None:
    """The first that works here."""
    for program in ("docker", "podman"):
        if (
            shutil.which(program)
            and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0
        ):
            return Docker(program)
    return Buildah() if shutil.which("buildah") else None


def _environment() -> dict[str, str]:
    return {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **os.environ}


def _output(*command: str | Path) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def _start(*command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
