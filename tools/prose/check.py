"""`python -m tools.prose.check`: banned phrases, vague and long names, broken links and anchors.

See docs/style.md. Checks the text of Markdown files, and docstrings, comments and names of Python files.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST_NAME_MAX_LENGTH = 60
BANNED = re.compile(
    r"\b("
    r"who(ever)? (asks?|comes?|has|have|is|was|reads?|sends?|waits?|wants?|knows?|gets?|holds?|can|may|does)"
    r"|whoever|whatever (comes?|ails)|but for|of (those|these)|those that|those who|what comes|what goes wrong"
    r"|isn't good|for ever|as it is told|is told|are told|in work|sent away"
    r")\b",
    re.IGNORECASE,
)
VAGUE_NAMES = frozenset("found these those one which given own told asked said".split())
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?)\s*#*$", re.MULTILINE)
CODE_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to rewrite."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.message}"


def check_markdown(path: Path, text: str) -> Iterator[Finding]:
    """Find banned phrases, and links to files and headings that don't exist."""
    prose = CODE_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    yield from _banned(path, prose, first_line=1)
    for match in LINK.finditer(prose):
        target = match[1] or match[2]
        if problem := _broken(path, target):
            yield Finding(path=path, line=prose[: match.start()].count("\n") + 1, message=problem)


def check_python(path: Path, source: str) -> Iterator[Finding]:
    """Find banned phrases in docstrings and comments, vague variable names and long test names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _is_long_test(node.name):
            message = f"{node.name} has {len(node.name)} characters, {TEST_NAME_MAX_LENGTH} are allowed"
            yield Finding(path=path, line=node.lineno, message=message)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in VAGUE_NAMES:
            yield Finding(path=path, line=node.lineno, message=f"{node.id}: name what the variable holds")
        if isinstance(node, ast.arg) and node.arg in VAGUE_NAMES:
            yield Finding(path=path, line=node.lineno, message=f"{node.arg}: name what the parameter holds")
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from _banned(path, node.value.value, first_line=node.lineno)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from _banned(path, token.string, first_line=token.start[0])


def _is_long_test(name: str) -> bool:
    return name.startswith("test_") and len(name) > TEST_NAME_MAX_LENGTH


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    slugs: set[str] = set()
    for match in HEADING.finditer(CODE_BLOCK.sub("", text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", match[1]).lower()
        slug = base = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        number = 0
        while slug in slugs:
            number += 1
            slug = f"{base}-{number}"
        slugs.add(slug)
    return slugs


def _broken(path: Path, target: str) -> str | None:
    if re.match(r"[a-z]+:", target):
        return None
    name, _, anchor = target.partition("#")
    file = (path.parent / name) if name else path
    if not file.exists():
        return f"broken link: {target} doesn't exist"
    if anchor and file.suffix == ".md" and anchor not in anchors(file.read_text()):
        return f"broken link: {target} has no such heading"
    return None


def _banned(path: Path, text: str, *, first_line: int) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), first_line):
        if match := BANNED.search(line):
            yield Finding(path=path, line=number, message=f'"{match[0]}": name the subject, or use the standard term')


def check(paths: list[Path]) -> list[Finding]:
    """Return the findings in the files, sorted by path and line."""
    findings: list[Finding] = []
    for path in paths:
        if path.suffix == ".md":
            findings += check_markdown(path, path.read_text())
        elif path.suffix == ".py":
            findings += check_python(path, path.read_text())
    return sorted(findings, key=lambda finding: (finding.path, finding.line))


def main() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    findings = check([path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()])
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(f"prose: {len(findings)} findings; see docs/style.md")


if __name__ == "__main__":
    main()
