"""`make feature name=playlists`: write a feature's folder, its tests and its migration, and list it in app.py.

What is written works: a table, a list with filter and sort, one by id, create, update with If-Match, delete, each for
its owner alone. docs/adding-a-feature.md says how it becomes another one.
"""

import argparse
import re
import sys
from pathlib import Path

from tools.migrations import ROOT, VERSIONS, hashes

TEMPLATE = Path(__file__).parent / "template"
NAME = re.compile(r"[a-z][a-z]{2,29}")
TEMPLATE_NAMES = ("playlists", "playlist")


class FeatureNameError(Exception):
    """The name can't be taken. The message is a sentence."""


def create(root: Path, name: str, singular: str) -> list[Path]:
    """Write the files of a feature; return their paths.

    Args:
        root: the repository.
        name: the plural: of the folder, the table and the URL.
        singular: of the model and the path parameter.

    Raises:
        FeatureNameError: the name isn't a lower-case word, or is taken.
    """
    package = root / "server" / "audifi"
    if not (NAME.fullmatch(name) and NAME.fullmatch(singular)) or name == singular:
        raise FeatureNameError("name=… must be a plural of 3 to 30 letters from a to z, and singular=… its singular")
    if any((package / name).glob("*.py")):
        raise FeatureNameError(f"there is a folder server/audifi/{name} already")
    previous = max(path.name[:4] for path in (root / VERSIONS).glob("[0-9]*_*.py"))
    revision = f"{int(previous) + 1:04}"
    migration = root / VERSIONS / f"{revision}_{name}.py"
    targets = {TEMPLATE / "migration.py.txt": migration}
    for folder, target in (("package", package / name), ("tests", root / "tests" / name)):
        for file in sorted((TEMPLATE / folder).iterdir()):
            targets[file] = target / _renamed(file.name.removesuffix(".txt"), name, singular)
    for source, target in targets.items():
        target.parent.mkdir(exist_ok=True)
        text = _renamed(source.read_text(), name, singular)
        target.write_text(text.replace("REVISION", revision).replace("PREVIOUS", previous))
    _list_in_app(package / "app.py", name)
    hashes.update(root)
    return [*targets.values(), package / "app.py"]


def _renamed(text: str, name: str, singular: str) -> str:
    for old, new in zip(TEMPLATE_NAMES, (name, singular), strict=True):
        for cased in (str.lower, str.capitalize, str.upper):
            text = text.replace(cased(old), cased(new))
    return text


def _list_in_app(path: Path, name: str) -> None:
    text = path.read_text()
    imports = re.findall(r"^from audifi\.\w+\.feature import .*\n", text, re.MULTILINE)
    text = text.replace(imports[-1], f"{imports[-1]}from audifi.{name}.feature import FEATURE as {name.upper()}\n")
    path.write_text(re.sub(r"^(FEATURES\b.*? = \([^)]*?),?\s*\)$", rf"\1, {name.upper()},)", text, flags=re.MULTILINE))


def main() -> None:
    parser = argparse.ArgumentParser(prog="make feature")
    parser.add_argument("name")
    parser.add_argument("singular", nargs="?")
    options = parser.parse_args()
    singular = options.singular or options.name.removesuffix("s")
    try:
        paths = create(ROOT, options.name, singular)
    except FeatureNameError as error:
        sys.exit(f"feature: {error}")
    for path in paths:
        print(f"wrote {path.relative_to(ROOT)}")
    print(
        "\nIt works as it is: `make format`, `make openapi`, then "
        f"`make test ARGS=tests/{options.name}`.\nThe singular is {singular}. Now change it: docs/adding-a-feature.md"
    )


if __name__ == "__main__":
    main()
