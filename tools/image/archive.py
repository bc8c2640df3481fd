"""Reads archives of `docker save` and buildah, in either layout.

In both, manifest.json names the configuration and the layers of an image: Docker before 25 wrote them into separate
folders, later versions into blobs/sha256 of an OCI layout, where the containerd image store keeps layers compressed
(moby/moby v29.7.2, daemon/containerd/image_exporter.go; google/go-containerregistry#1879).
"""

import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Archive:
    tags: list[str]
    config: dict[str, Any]
    """The image's OCI configuration: Cmd, Env, User, Labels …"""
    layers: dict[str, int]
    """Size of each layer's files in bytes, by the digest of the uncompressed layer; the base's layers first."""


def read(file: Path) -> Archive:
    """Read an archive of one image."""
    with tarfile.open(file) as archive:
        (manifest,) = json.loads(_content(archive, "manifest.json"))
        image = json.loads(_content(archive, manifest["Config"]))
        sizes = [_layer_bytes(archive, name) for name in manifest["Layers"]]
    return Archive(manifest["RepoTags"], image["config"], dict(zip(image["rootfs"]["diff_ids"], sizes, strict=True)))


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    content = archive.extractfile(name)
    assert content, name
    return content.read()


def _layer_bytes(archive: tarfile.TarFile, name: str) -> int:
    with tarfile.open(fileobj=archive.extractfile(name), mode="r|*") as layer:
        return sum(member.size for member in layer if member.isreg())
