"""Findings and exceptions of the prose check."""

from pathlib import Path

import pytest

from tools.prose import check
from tools.prose.check import ROOT, anchors, check_markdown, check_python


@pytest.mark.parametrize(
    "phrase", ["Whoever waits longest is next.", "all but for one", "one of those that count", "It is told who asks."]
)
def test_banned_phrase_is_found(phrase: str) -> None:
    findings = [
        *check_markdown(ROOT / "README.md", phrase),
        *check_python(ROOT / "x.py", f'def f():\n    """{phrase}"""\n'),
        *check_python(ROOT / "x.py", f"x = 1  # {phrase}\n"),
    ]

    assert [finding.line for finding in findings] == [1, 2, 1]


def test_code_and_strings_are_left_alone() -> None:
    assert not list(check_markdown(ROOT / "README.md", "```\nwhoever\n```\nplain"))
    assert not list(check_python(ROOT / "x.py", 'x = "whoever asks"\n'))


def test_long_test_name_is_found() -> None:
    long = "test_" + "x" * 56
    (finding,) = check_python(ROOT / "x.py", f"def {long}():\n    pass\n")

    assert "61 characters" in finding.message
    assert not list(check_python(ROOT / "x.py", f"def {long[:-1]}():\n    pass\n"))


@pytest.mark.parametrize("code", ["found = 1", "for one in x: pass", "def f(given): pass", "[told for told in x]"])
def test_vague_name_is_found(code: str) -> None:
    (finding,) = check_python(ROOT / "x.py", code)

    assert "name what the" in finding.message


def test_broken_links_and_anchors_are_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `heading`, twice\n# A heading, twice\n")
    text = "[a](there.md) [b](away.md) [c](there.md#a-heading-twice) [d](there.md#no) ![e](away.svg) [f](https://x)"

    messages = [finding.message for finding in check_markdown(tmp_path / "page.md", text)]

    assert messages == [
        "broken link: away.md doesn't exist",
        "broken link: there.md#no has no such heading",
        "broken link: away.svg doesn't exist",
    ]


def test_equal_headings_have_numbered_anchors() -> None:
    assert anchors("# One\n## One\n```\n# no heading\n```\n") == {"one", "one-1"}


def test_repository_is_checked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ROOT / "README.md"
    monkeypatch.setattr(check, "check", lambda _: [check.Finding(path=bad, line=3, message="no")])

    with pytest.raises(SystemExit, match="1 findings"):
        check.main()

    assert capsys.readouterr().out == "README.md:3: no\n"
