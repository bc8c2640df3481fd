"""The sign-in e-mail: its content, safety and accessibility."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import override

import pytest

from audifi.auth.emails import sign_in_mail
from audifi.core.email.sender import Email

LINK = "https://app.audifi.example/auth/verify#token=aml1_kX3vJ8Qm2ZtP0yRw7LbNc5HdSf9GaUeTiOkWqYxVz4M"
REQUESTED_AT = datetime(2026, 1, 31, 14, 3, 7, tzinfo=UTC)
VOID = "br hr img input link meta".split()
LOADING = {"src", "srcset", "background", "poster", "data", "action", "formaction", "cite", "ping"}


class Page(HTMLParser):
    """The HTML as an e-mail client shows it, without the style sheet and hidden elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.unbalanced: list[str] = []
        self._open: list[tuple[str, bool]] = []
        self._visible: list[str] = []
        self._hidden: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += [tag for tag, _ in self._open]

    @property
    def visible(self) -> str:
        return " ".join("".join(self._visible).split())

    @property
    def preheader(self) -> str:
        return " ".join("".join(self._hidden).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, "display: none" in (attributes.get("style") or "")))

    @override
    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    @override
    def handle_data(self, data: str) -> None:
        if any(tag in {"head", "style", "title"} for tag, _ in self._open):
            return
        (self._hidden if any(hidden for _, hidden in self._open) else self._visible).append(data)


def make_email(
    *, link: str = LINK, code: str = "01234567", minutes: int = 10, requested_at: datetime = REQUESTED_AT
) -> Email:
    return sign_in_mail(
        to="ada@example.com",
        link=link,
        code=code,
        minutes=minutes,
        requested_at=requested_at,
        message_id="0199",
    )


def words(text: str) -> str:
    """Normalize white space and apostrophes."""
    return " ".join(text.replace("’", "'").split())  # noqa: RUF001 - a typographic apostrophe


def test_email_has_its_recipient() -> None:
    mail = make_email()

    assert mail.to == "ada@example.com"
    assert mail.message_id == "0199"
    assert mail.bypasses_unsubscribe, "an unsubscribe keeps nobody from signing in"
    assert "AudiFi" in mail.subject


def test_both_parts_contain_link_and_code() -> None:
    mail = make_email()
    page = Page(mail.html)

    assert LINK in mail.text.splitlines(), "on its own line, so that clients recognize the whole link"
    assert "0123 4567" in mail.text.splitlines()
    assert "01234567" in page.visible, "the gap is only looks: what is copied or filled in is what the API takes"
    assert [attributes["href"] for attributes in page.all("a")] == [LINK, LINK], "a button, and the link to be copied"
    assert LINK in page.visible


def test_preheader_shows_when_the_link_was_requested() -> None:
    """Gmail folds e-mails of one thread that look alike."""
    first, second = (Page(make_email(requested_at=at).html) for at in (REQUESTED_AT, REQUESTED_AT.replace(second=8)))

    assert first.preheader.startswith("Your link to sign in, requested on 31 January 2026 at 14:03:07 UTC.")
    assert second.preheader.startswith("Your link to sign in, requested on 31 January 2026 at 14:03:08 UTC.")


def test_subject_and_preheader_contain_no_secrets() -> None:
    mail = make_email()
    shown = f"{mail.subject} {Page(mail.html).preheader} {mail!r}"

    assert Page(mail.html).preheader.startswith("Your link to sign in")
    assert not re.search(r"https?:|aml1_|0123|4567", shown)


@pytest.mark.parametrize(
    "sentence",
    [
        "valid for 10 minutes",
        "enter this code on the device where you asked to sign in",
        "Never tell the code to anyone.",
        "Requested on 31 January 2026 at 14:03:07 UTC.",
        "If you didn't ask for this, ignore it: nobody can sign in without it.",
    ],
)
def test_both_parts_contain_the_same_sentences(sentence: str) -> None:
    mail = make_email()

    assert sentence in words(mail.text)
    assert sentence in words(Page(mail.html).visible)


def test_one_minute_is_singular() -> None:
    mail = make_email(minutes=1)

    assert "valid for 1 minute." in words(mail.text)
    assert "valid for 1 minute." in words(Page(mail.html).visible)


def test_every_placeholder_is_replaced() -> None:
    mail = make_email()

    assert "$" not in mail.text
    assert "$" not in mail.html


def test_value_is_not_a_template() -> None:
    link = "https://app.audifi.example/$code/${minutes}/$$"
    mail = make_email(link=link)

    assert link in mail.text.splitlines()
    assert Page(mail.html).all("a")[0]["href"] == link


def test_values_are_escaped_in_html_and_only_there() -> None:
    link = "https://app.audifi.example/?a=1&lt=2\"'><b>"
    mail = make_email(link=link, code="<i>&\"'>")
    page = Page(mail.html)

    assert link in mail.text.splitlines()
    assert "<i>& \"'>" in mail.text.splitlines()
    assert not page.all("b")
    assert not page.all("i")
    assert [attributes["href"] for attributes in page.all("a")] == [link, link]
    assert link in page.visible
    assert "<i>&\"'>" in page.visible


def test_html_loads_and_runs_nothing() -> None:
    """A loaded resource would reveal who opened the e-mail."""
    mail = make_email()
    page = Page(mail.html)
    without_namespaces = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", mail.html)

    assert set(re.findall(r"https?://[^\s\"'<>]*", without_namespaces, re.IGNORECASE)) == {LINK}
    assert not re.search(r"<script|<img|<link|<iframe|<form|<base|<video|<object|<svg|v:", mail.html, re.IGNORECASE)
    assert not re.search(r"url\(|@import|@font-face|javascript:|data:|src=", mail.html, re.IGNORECASE)
    names = {name for _, attributes in page.tags for name in attributes}
    assert not names & LOADING
    assert not [name for name in names if name.startswith("on")]


def test_html_is_well_formed_and_accessible() -> None:
    page = Page(make_email().html)

    assert not page.unbalanced
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("title")) == 1
    assert len(page.all("h1")) == 1
    assert page.all("table")
    assert all(attributes.get("role") == "presentation" for attributes in page.all("table")), "none holds data"
    metas = {attributes.get("name"): attributes.get("content") for attributes in page.all("meta")}
    assert metas["color-scheme"] == "light dark"
    assert metas["supported-color-schemes"] == "light dark"
    assert "initial-scale=1" in (metas["viewport"] or "")
    assert "maximum-scale" not in (metas["viewport"] or ""), "who needs it larger may zoom"


def test_every_colour_has_a_dark_variant() -> None:
    """A colour without a dark variant could be dark on dark."""
    html = make_email().html
    dark = html[html.index("@media (prefers-color-scheme: dark)") : html.index("</style>\n</head>")]
    forgotten = []
    for tag, attributes in Page(html).tags:
        style = attributes.get("style") or ""
        classes = (attributes.get("class") or "").split()
        known = [*(f".{name}" for name in classes), tag]
        if tag == "a":
            known.append(".button a")
        coloured = "color:" in style and "display: none" not in style
        if coloured and not any(re.search(rf"(^|[\s,]){re.escape(name)}\s*[,{{]", dark) for name in known):
            forgotten.append((tag, style))

    assert not forgotten


def test_email_fits_gmails_limits() -> None:
    """Gmail drops style sheets above 8192 characters, and clips e-mails above 102 KB."""
    html = make_email().html

    assert all(len(sheet) < 8192 for sheet in re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert len(html.encode()) < 102_000


def test_parts_are_ascii() -> None:
    """ASCII can't be garbled by a wrong character set."""
    mail = make_email()

    assert mail.text.isascii()
    assert mail.html.isascii()
