"""The engine for docker, with a simulated Docker 29 (docker_simulator.py has the sources)."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.image import archive, containers
from tools.image.containers import Buildah, Docker, EngineError
from tools.image.tests import simulators

pytestmark = [
    pytest.mark.image,
    pytest.mark.skipif(
        not isinstance(containers.engine(), Buildah) or os.geteuid() != 0 or shutil.which("skopeo") is None,
        reason="needs buildah, skopeo and root; with docker, test_image.py tests the engine",
    ),
]
IMAGE = "localhost/audifi-test:1"
DOCKERFILE = """
FROM python:3.13-slim-trixie
ARG COMMIT=""
LABEL revision=$COMMIT
RUN head -c 1000000 /dev/zero > /zeros
USER 10001:10001
CMD ["python", "--version"]
"""
READY_THEN_STOP = """
import signal
signal.signal(signal.SIGTERM, lambda *_: exit(7))
print("ready", flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docker")


@pytest.fixture(scope="module")
def docker(folder: Path) -> Iterator[Docker]:
    engine = simulators.docker(folder)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BUILDX_NO_DEFAULT_ATTESTATIONS", raising=False)
        engine.build(folder, IMAGE, {"COMMIT": "1a2b3c4"})
    yield engine
    engine.remove(IMAGE)


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the simulated docker; the Buildah behind it needs no privileges for chroot and vfs."""
    variables = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs", **os.environ}
    return subprocess.run([folder / "docker", *arguments], env=variables, capture_output=True, text=True, check=False)


def test_base_is_not_in_the_image_store(docker: Docker) -> None:
    assert docker.id(IMAGE)
    assert docker.id("docker.io/library/python:3.13-slim-trixie") is None


def test_build_adds_no_attestation(docker: Docker, folder: Path, tmp_path: Path) -> None:
    docker.save(IMAGE, tmp_path / "image.tar")
    assert descriptor_type(folder).endswith("manifest.v1+json")

    call(folder, "build", "--tag", "localhost/by-hand:1", str(folder))

    assert descriptor_type(folder).endswith("index.v1+json"), "BuildKit adds an attestation by default"


def descriptor_type(folder: Path) -> str:
    *_, newest = json.loads((folder / "state" / "images" / "index.json").read_text())["manifests"]
    return str(newest["mediaType"])


def test_id_survives_a_copy_that_rewrites_the_manifest(docker: Docker, folder: Path, tmp_path: Path) -> None:
    before, digest = docker.id(IMAGE), call(folder, "image", "inspect", "--format={{.Id}}", IMAGE).stdout
    docker.save(IMAGE, tmp_path / "image.tar")
    copy = ["skopeo", "copy", f"docker-archive:{tmp_path}/image.tar", f"oci:{folder}/state/images:{IMAGE}"]
    subprocess.run(copy, check=True, capture_output=True)

    assert call(folder, "image", "inspect", "--format={{.Id}}", IMAGE).stdout != digest
    assert docker.id(IMAGE) == before


def test_archive_is_read_by_its_layers(docker: Docker, folder: Path, tmp_path: Path) -> None:
    docker.save(IMAGE, tmp_path / "image.tar")
    saved = archive.read(tmp_path / "image.tar")
    packed = json.loads(call(folder, "image", "inspect", IMAGE).stdout)[0]["Size"]

    assert saved.tags == [IMAGE]
    assert saved.config["Labels"]["revision"] == "1a2b3c4"
    *_, top_layer = saved.layers.values()
    assert 1_000_000 <= top_layer < 1_100_000
    assert packed < sum(saved.layers.values()) / 2


def test_skopeo_copies_the_archive(docker: Docker, tmp_path: Path) -> None:
    docker.save(IMAGE, tmp_path / "image.tar")
    copy = ["skopeo", "copy", f"docker-archive:{tmp_path}/image.tar", f"dir:{tmp_path}/copy"]

    assert subprocess.run(copy, capture_output=True, check=False).returncode == 0


def test_config_is_what_the_dockerfile_says(docker: Docker) -> None:
    config = docker.config(IMAGE)

    assert config["Cmd"] == ["python", "--version"]
    assert config["User"] == "10001:10001"
    assert not config.get("Entrypoint")


def test_command_gets_environment_user_and_status(docker: Docker) -> None:
    command = ["sh", "-c", "echo $GREETING; id -u; echo wrote > /tmp/file; exit 3"]

    assert docker.start(IMAGE, command, {"GREETING": "hello"}).wait(60) == (3, "hello\n10001\n")


def test_read_only_container_cannot_write(docker: Docker) -> None:
    status, output = docker.start(IMAGE, ["sh", "-c", "echo wrote > /tmp/file"], {}, read_only=True).wait(60)

    assert status != 0
    assert "Read-only file system" in output


def test_unknown_image_is_not_looked_up_in_a_registry(docker: Docker) -> None:
    status, output = docker.start("localhost/audifi-test:none", ["true"], {}).wait(60)

    assert status == 125
    assert "Unable to find image" not in output


def test_signal_waits_for_a_container_that_is_being_made(docker: Docker) -> None:
    container = docker.start(IMAGE, ["sleep", "600"], {})
    container.signal(signal.SIGKILL)

    assert container.wait(60)[0] == 128 + signal.SIGKILL


def test_signal_reaches_the_command(docker: Docker, tmp_path: Path) -> None:
    fifo = tmp_path / "output"
    os.mkfifo(fifo)
    # The pipe shows when the handler is installed: process 1 ignores signals without a handler.
    reader = os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
    with fifo.open("wb") as output, reader:
        os.set_blocking(reader.fileno(), True)
        container = docker.start(IMAGE, ["python", "-c", READY_THEN_STOP], {}, output=output)
        assert reader.readline() == "ready\n"
        container.signal(signal.SIGTERM)
        assert container.wait(60) == (7, "")
        container.signal(signal.SIGTERM)  # no error after the end


def test_failed_build_says_why(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:3.13-slim-trixie\nRUN echo broken >&2; false\n")

    with pytest.raises(EngineError, match="broken"):
        docker.build(tmp_path, "localhost/audifi-test:broken", {})
    assert docker.id("localhost/audifi-test:broken") is None
