"""Finds the image of a release, and the image that serves. Python 3.12 to 3.14, standard library only."""

import re

import flyctl
from report import RefusedError
from served import Answer

FULL_COMMIT = 40


def was_deployed(app: str) -> bool:
    """Return False before an app's first deploy, and True also if flyctl can't list releases.

    Before its first deploy an app has no address. Resolvers cache a missing name for minutes (RFC 2308, section 5), so
    a request before the deploy would make a good first deploy look unreachable.
    """
    return flyctl.releases(app) != []


def find_image_of(answer: Answer, app: str) -> str:
    """Return the newest image of the answering version, else of the newest complete release; empty if there is none."""
    releases = flyctl.releases(app) or []
    serving = [each.image for each in releases if each.commit and answer.names(each.commit)]
    complete = [each.image for each in releases if each.status == "complete"]
    return next((image for image in serving + complete if image), "")


def was_rebuilt(app: str, image: str) -> bool:
    """Return whether an image's tag names another build by now: a rebuild of a commit has the commit's tag.

    Releases name images by digest, too (flyctl v0.4.87, internal/build/imgsrc/resolver.go).
    """
    newest = next(iter(flyctl.releases(app) or []), None)
    return "@" in image and newest is not None and newest.image not in {"", image}


def find_image(app: str, release: str) -> tuple[str, str]:
    """Return the image of a release or commit, and its full commit.

    Raises:
        RefusedError: no such image is known, or it names no commit.
    """
    if not re.fullmatch(r"v[0-9]{1,9}|[0-9a-f]{7,40}", release):
        raise RefusedError(
            f"{release!r} is neither a release, such as v12, nor a commit of 7 to 40 hexadecimal digits."
        )
    releases = flyctl.releases(app)
    if release.startswith("v"):
        matching = [each for each in releases or [] if each.version == int(release[1:])]
    else:
        matching = [each for each in releases or [] if each.commit.startswith(release)]
        if not matching and len(release) == FULL_COMMIT:
            return f"registry.fly.io/{app}:{release}", release
    if releases is None:
        raise RefusedError(
            f"flyctl can't list the releases of {app}; the lines above say why. A full commit needs no list."
        )
    if not matching:
        raise RefusedError(
            f"{app} has no release {release} among its last {len(releases)}; `flyctl releases --app {app} --image`"
            " lists them. An older image may be available by its full commit of 40 digits."
        )
    image, commit = matching[0].image, matching[0].commit
    if not commit:
        raise RefusedError(
            f"The image of {release}, {image or 'unknown'}, isn't labelled with a commit, so its deploy can't be"
            " verified: roll back by hand (docs/runbook.md)."
        )
    return image, commit
