"""Builds and saves the image of the current commit.

python -m tools.image.build build        build the image; print its name
python -m tools.image.build save FILE    write the image to a docker-archive
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tools.image import containers
from tools.image.containers import Engine, EngineError

ROOT = Path(__file__).parents[2]


def commit() -> str:
    """Return the full hash of the workflow run's commit in GitHub Actions, elsewhere of the current commit."""
    if commit_of_run := os.environ.get("GITHUB_SHA"):
        return commit_of_run
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"no commit to label the image with: {done.stderr.strip()}")
    return done.stdout.strip()


def name() -> str:
    return f"localhost/audifi-api:{commit()}"


def build(engine: Engine) -> str:
    """Build the image; return its name."""
    image = name()
    engine.build(ROOT / "server", image, {"COMMIT": commit()})
    return image


def built(engine: Engine) -> str:
    """Build the image; return its name. A workflow run reuses an existing image: elsewhere files may have changed."""
    if "GITHUB_SHA" in os.environ and engine.id(name()) is not None:
        return name()
    return build(engine)


def save(engine: Engine, file: Path) -> None:
    """Save the image that was built and tested before.

    Raises:
        EngineError: the image doesn't exist.
    """
    if engine.id(name()) is None:
        raise EngineError(f"{name()} doesn't exist; `make image` builds it")
    engine.save(name(), file)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("save").add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    engine = containers.engine()
    if engine is None:
        sys.exit(f"image: {containers.SKIP_REASON}")
    try:
        if options.command == "build":
            print(built(engine))
        else:
            save(engine, options.file)
            print(f"{options.file}, {options.file.stat().st_size / 1e6:.0f} MB")
    except EngineError as error:
        sys.exit(f"image: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
