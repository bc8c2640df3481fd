"""How deploy.py finds out which commit is served, against a fake health endpoint."""

import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from served import Answer, Api, ask
from tests.support import web
from tests.support.api import free_port
from tools.pipeline.fake_fly import Reply, health, serving

COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
NEW = "0.1.0+1a2b3c4"
OLD = "0.1.0+0ddba11"


def wait(url: str, timeout: float = 1, in_a_row: int = 3) -> tuple[bool, Answer]:
    return Api(url, interval=0, in_a_row=in_a_row).wait_until(lambda answer: answer.serves(COMMIT), timeout)


def test_wait_ends_after_enough_answers_in_a_row() -> None:
    with serving(health(NEW)) as server:
        served, answer = wait(server.url, timeout=20)

    assert served
    assert server.paths == ["/api/v1/health"] * 3
    assert answer == Answer(200, NEW, "ok", f"status 200, version {NEW}")


def test_wait_continues_while_the_old_commit_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(*[health(OLD)] * 5, health(NEW)) as server:
        served, _ = wait(server.url, timeout=20)

    assert served
    assert len(server.paths) == 8
    assert [line.split("version ")[1] for line in capsys.readouterr().out.splitlines()] == [OLD, NEW]


def test_alternating_versions_do_not_end_the_wait() -> None:
    with serving(health(NEW), health(NEW), health(OLD), repeat_all=True) as server:
        assert not wait(server.url)[0]


def test_wait_times_out_with_the_last_answer() -> None:
    with serving(health(OLD)) as server:
        started = time.monotonic()
        served, answer = wait(server.url)

    assert not served
    assert time.monotonic() - started < 15
    assert answer.seen == f"status 200, version {OLD}"


def test_wait_pauses_between_requests() -> None:
    with serving(health(NEW)) as server:
        started = time.monotonic()
        Api(server.url, interval=1, in_a_row=2).wait_until(lambda answer: answer.serves(COMMIT), 20)

    assert 1 <= time.monotonic() - started < 15


def test_wait_ends_when_health_turns_green() -> None:
    with serving(*[health(NEW, status=503)] * 4, health(NEW)) as server:
        assert wait(server.url, timeout=20)[0]
        assert len(server.paths) == 7


@pytest.mark.parametrize(
    "body",
    [
        "<h1>502 Bad Gateway</h1>",
        "",
        "[]",
        "null",
        '{"version": 1}',
        "{}",
        '{"version": "--x"}',
        f'{{"version": "{NEW}\\nversion=x"}}',
        "\n::add-mask::x\n::error::forged",
    ],
)
def test_answer_without_a_version_does_not_count(body: str) -> None:
    with serving(Reply(body)) as server:
        answer = ask(server.url, 5)

    assert (answer.status, answer.version, answer.healthy) == (200, "", False)
    assert answer.seen.startswith("status 200 without a version")
    assert "\n" not in answer.seen, "a line break would allow workflow commands"


def test_matching_answers_continue_past_the_timeout() -> None:
    with serving(health(NEW)) as server:
        assert wait(server.url, timeout=0)[0]
    for replies in ([health(OLD), health(NEW)], [health(NEW), health(NEW), health(OLD), health(NEW)]):
        with serving(*replies) as server:
            assert not wait(server.url, timeout=0)[0]
        assert len(server.paths) == len(replies) - 1


def test_refused_connection_is_retried() -> None:
    started = time.monotonic()
    served, answer = wait(f"http://127.0.0.1:{free_port()}")

    assert not served
    assert 0.5 < time.monotonic() - started < 15
    assert answer.status is None
    assert answer.seen.startswith("no answer (ConnectionRefusedError")


def test_silent_server_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        served, answer = wait(f"http://127.0.0.1:{listener.getsockname()[1]}")

    assert not served
    assert time.monotonic() - started < 15
    assert answer.seen.startswith("no answer (TimeoutError")


@pytest.mark.parametrize("version", ["0.1.0+1a2b3c4", "0.1.0+1a2b3c4d5e", f"0.1.0+{COMMIT}", "2.0.0-rc.1+1a2b3c4"])
def test_seven_or_more_digits_identify_the_commit(version: str) -> None:
    assert Answer(200, version, "ok").serves(COMMIT)


@pytest.mark.parametrize("status", [None, 204, 500, 503])
def test_commit_with_red_health_is_not_served(status: int | None) -> None:
    answer = Answer(status, NEW, "ok")

    assert answer.names(COMMIT)
    assert not answer.serves(COMMIT)


@pytest.mark.parametrize(
    ("health", "database", "seen"),
    [
        ("degraded", "read_only", "degraded, database read_only"),
        ("degraded", "saturated", "degraded, database saturated"),
        ("ok\n::error::forged", "\n::error::forged", "no health, database unknown"),
        (None, None, "no health, database unknown"),
    ],
)
def test_degraded_health_is_not_a_good_deploy(health: str | None, database: str | None, seen: str) -> None:
    body = {"status": health, "version": NEW, "dependencies": {"database": database}}
    with serving(Reply(json.dumps(body))) as server:
        answer = ask(server.url, 5)

    assert answer.serves(COMMIT)
    assert not answer.fully_serves(COMMIT)
    assert answer.seen == f"status 200, {seen}, version {NEW}"


@pytest.mark.parametrize(
    "version",
    [
        "",
        "0.1.0",
        "0.1.0+",
        "0.1.0+1a2b3c",  # too short to tell commits apart
        "0.1.0+1a2b3c5",
        "0.1.0+a2b3c4d",  # from its middle
        f"0.1.0+{COMMIT}0",
        "0.1.0+1A2B3C4",
        "0.1.0+1a2b3c4.dirty",
        "0.1.0-1a2b3c4",
        "1a2b3c4",
    ],
)
def test_other_version_is_not_the_commit(version: str) -> None:
    assert not Answer(200, version, "ok").serves(COMMIT)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with (
        serving(health(NEW)) as target,
        serving(Reply("", status, {"Location": target.url + "/api/v1/health"})) as server,
    ):
        assert ask(server.url, 5).version == ""

    assert target.paths == []


def test_untrusted_certificate_is_no_answer() -> None:
    with serving(health(NEW), tls=certificate(trustme.CA(), "127.0.0.1")) as server:
        answer = ask(server.url.replace("http:", "https:"), 5)

    assert answer.status is None
    assert "SSLCertVerificationError" in answer.seen


# Behind a proxy


def certificate(authority: trustme.CA, name: str) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(tls)
    return tls


class Proxy(web.Server):
    """Tunnels CONNECT for any host name to one local port."""

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.target = target
        self.requests: list[tuple[str, str | None]] = []


class ProxyHandler(web.Handler):
    def do_CONNECT(self) -> None:
        assert isinstance(self.server, Proxy)
        self.server.requests.append((self.path, self.headers["Proxy-Authorization"]))
        with socket.create_connection(("127.0.0.1", self.server.target)) as there:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=copy, args=(there, self.connection), daemon=True).start()
            copy(self.connection, there)


def copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # the other side has closed
        pass


@contextmanager
def behind_proxy(folder: Path, monkeypatch: pytest.MonkeyPatch, user: str = "") -> Iterator[Proxy]:
    """Serve https://an-app.fly.dev behind a proxy only."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    for name in ("https_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with (
        serving(health(NEW), tls=certificate(authority, "an-app.fly.dev")) as server,
        web.running(Proxy(server.server_port)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{user}127.0.0.1:{proxy.server_port}")
        yield proxy


def test_https_proxy_is_tunnelled_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(tmp_path, monkeypatch) as proxy:
        answer = ask("https://an-app.fly.dev", 5)
        other = ask("https://another-app.fly.dev", 5)

    assert answer.serves(COMMIT), answer.seen
    assert "SSLCertVerificationError" in other.seen
    assert proxy.requests == [("an-app.fly.dev:443", None), ("another-app.fly.dev:443", None)]


def test_proxy_credentials_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(tmp_path, monkeypatch, user="me:s%40me@") as proxy:
        assert ask("https://an-app.fly.dev", 5).serves(COMMIT)

    assert proxy.requests == [("an-app.fly.dev:443", f"Basic {base64.b64encode(b'me:s@me').decode()}")]


def test_no_proxy_host_is_requested_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(tmp_path, monkeypatch) as proxy:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        ask(f"https://127.0.0.1:{free_port()}", 5)

    assert proxy.requests == []


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:port", "http://"])
def test_invalid_proxy_is_no_answer(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)

    assert ask("https://an-app.fly.dev", 5).seen.startswith("no answer (")
