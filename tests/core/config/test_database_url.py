"""DATABASE_URL as people and hosting providers write it. tests/core/db/test_connection.py connects with it."""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from asyncpg.connect_utils import _parse_connect_dsn_and_args
from hypothesis import given
from hypothesis import strategies as st

from audifi.core.config.database_url import DatabaseURL

SECRET = "s3cr3t"
UNSET = dict.fromkeys("passfile service servicefile server_settings krbsrvname gsslib".split())
VERIFIED = "verified"


def parse_with_asyncpg(url: str) -> tuple[list[Any], Any]:
    """Return the addresses and parameters that asyncpg makes of the arguments."""
    addresses, parameters = _parse_connect_dsn_and_args(**UNSET | DatabaseURL.parse(url).arguments())
    return addresses, parameters


@pytest.mark.parametrize(
    ("url", "address", "tls"),
    [
        ("postgres://u:p@h/d", ("h", 5432), "require"),
        ("postgresql://u:p@h.example:7/d", ("h.example", 7), "require"),
        ("postgresql+asyncpg://u:p@h/d", ("h", 5432), "require"),
        ("POSTGRES://u:p@h/d", ("h", 5432), "require"),
        (" postgres://u:p@h/d\n", ("h", 5432), "require"),
        ("postgres://u:p@10.0.0.7/d", ("10.0.0.7", 5432), "require"),
        ("postgres://u@[2001:db8::7]/d", ("2001:db8::7", 5432), "require"),
        # This machine, and private networks
        ("postgres://u:p@localhost/d", ("localhost", 5432), "prefer"),
        ("postgres://u:p@127.0.0.1/d", ("127.0.0.1", 5432), "prefer"),
        ("postgres://u@[::1]:5433/d", ("::1", 5433), "prefer"),
        ("postgresql://u@/d?host=/tmp/sockets&port=5433", "/tmp/sockets/.s.PGSQL.5433", "prefer"),
        ("postgres://u:p@db.flycast:5432/d?sslmode=disable", ("db.flycast", 5432), "disable"),
        ("postgres://u:p@DB.FLYCAST/d", ("db.flycast", 5432), "disable"),
        ("postgres://u:p@top2.nearest.of.db.internal/d", ("top2.nearest.of.db.internal", 5432), "disable"),
        ("postgres://u:p@flycast/d", ("flycast", 5432), "require"),
        ("postgres://u:p@localhost.evil.example/d", ("localhost.evil.example", 5432), "require"),
        # TLS
        ("postgres://u:p@h/d?sslmode=disable", ("h", 5432), "disable"),
        ("postgres://u:p@h/d?sslmode=prefer", ("h", 5432), "prefer"),
        ("postgres://u:p@h/d?sslmode=", ("h", 5432), "require"),
        ("postgres://u:p@h/d?sslmode=verify-ca", ("h", 5432), VERIFIED),
        ("postgres://u:p@h/d?sslmode=verify-full", ("h", 5432), VERIFIED),
        ("postgres://u:p@localhost/d?sslrootcert=system", ("localhost", 5432), VERIFIED),
        ("postgres://u:p@h/d?sslmode=disable&channel_binding=require", ("h", 5432), VERIFIED),
        ("postgres://u:p@h/d?channel_binding=prefer", ("h", 5432), "require"),
        ("postgres://u@/d?host=/tmp&channel_binding=require", "/tmp/.s.PGSQL.5432", "prefer"),
        ("postgres://u:p@h:6543/d?pgbouncer=true", ("h", 6543), "require"),
        (
            "postgres://u:p@EP-1-POOLER.eu.aws.neon.tech/d?sslmode=require&channel_binding=require",
            ("ep-1-pooler.eu.aws.neon.tech", 5432),
            VERIFIED,
        ),
    ],
)
def test_url_is_read(url: str, address: object, tls: str) -> None:
    parsed = DatabaseURL.parse(url)

    assert parse_with_asyncpg(url)[0] == [address]
    assert (VERIFIED if isinstance(parsed.ssl, ssl.SSLContext) else parsed.ssl) == tls
    if isinstance(parsed.ssl, ssl.SSLContext):
        assert (parsed.ssl.verify_mode, parsed.ssl.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert parsed.ssl.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "is empty"),
        ("mysql://u:s3cr3t@h/d", "must start with postgres://"),
        ("'postgres://u:s3cr3t@h/d'", "must start with postgres://"),
        ("postgres:u:s3cr3t@h/d", "must start with postgres://"),
        # A raw character of the password
        ("postgres://u:s3cr3t@more@h/d", "percent-encode it: @ is %40"),
        ("postgres://u:a@s3cr3t/more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t/more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t#more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t?more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t\nmore@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t%00@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t\udcff@h/d", "broken UTF-8"),
        # Host, port and user
        ("postgres://u:s3cr3t@::1/d", "must name one host"),
        ("postgres://u:s3cr3t@[::1/d", "IPv6 address goes in brackets"),
        ("postgres://u:s3cr3t@/d", "must name one host"),
        ("postgres://u:s3cr3t@:5432/d", "must name one host"),
        ("postgres://u:s3cr3t@one,two/d", "must name one host"),
        ("postgres://u:s3cr3t@a..b/d", "must name one host"),
        (f"postgres://u:s3cr3t@{'a' * 64}.b/d", "must name one host"),
        ("postgres://u:s3cr3t@h:99999/d", "port must be a number from 1 to 65535"),
        ("postgres://u:s3cr3t@h:0/d", "port must be a number"),
        ("postgres://u:s3cr3t@h:s3cr3t/d", "port must be a number"),
        ("postgres://u:s3cr3t@/d?host=/tmp&port=s3cr3t", "port must be a number"),
        ("postgres://u:s3cr3t@h/d?host=other", "names its host or port twice"),
        ("postgres://u:s3cr3t@h:1/d?port=2", "names its host or port twice"),
        ("postgres://h/d?password=s3cr3t", "parameter password"),
        ("postgres://:s3cr3t@h/d", "names no user"),
        # Parameters
        ("postgres://u:s3cr3t@h/d?sslmode=s3cr3t", "sslmode must be one of disable, allow"),
        ("postgres://u:s3cr3t@h/d?sslrootcert=/no/such/file&sslmode=verify-ca", "sslrootcert must name a file"),
        (f"postgres://u:s3cr3t@h/d?sslrootcert={__file__}", "sslrootcert must name a file with a certificate"),
        (f"postgres://u:s3cr3t@h/d?sslrootcert={__file__}&sslmode=disable", "sslrootcert needs sslmode=verify-full"),
        ("postgres://u:s3cr3t@h/d?sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("postgres://u:s3cr3t@h/d?channel_binding=s3cr3t", "channel_binding must be"),
        ("postgres://u:s3cr3t@h/d?connect_timeout=soon", "connect_timeout must be a whole number"),
        ("postgres://u:s3cr3t@h/d?require_auth=scram-sha-256", "parameter require_auth"),
        ("postgres://u:s3cr3t@h/d?S3cr3t-piece", "a parameter"),
    ],
)
def test_url_is_refused_without_its_values(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        DatabaseURL.parse(url)

    assert sentence in str(refusal.value)
    assert SECRET not in str(refusal.value).lower()


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_percent_encoded_credentials_survive(user: str, password: str, database: str) -> None:
    if "\0" in user + password + database:
        return  # refused: PostgreSQL can't store it
    values = [text.encode(errors="replace").decode() for text in (user, password, database)]
    url = "postgres://{}:{}@h/{}".format(*(quote(text, safe="") for text in values))

    parameters = parse_with_asyncpg(url)[1]

    assert [parameters.user, parameters.password, parameters.database] == values


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    for url in (text, f"postgres://{text}", f"postgres://u:{text}@h/d", f"postgres://u@h/d?{text}"):
        try:
            DatabaseURL.parse(url)
        except ValueError as error:
            assert str(error)[0].islower()


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("0", None), ("-1", None)])
def test_connect_timeout_is_never_endless(text: str, seconds: float | None) -> None:
    assert DatabaseURL.parse(f"postgres://u:p@h/d?connect_timeout={text}").connect_timeout_seconds == seconds


@pytest.mark.parametrize(
    ("query", "settings"),
    [
        ("", {"application_name": "audifi-api"}),
        (
            "?application_name=a+b&options=-c%20search_path%3Dx%26y",
            {"application_name": "a+b", "options": "-c search_path=x&y"},
        ),
    ],
)
def test_session_settings_reach_the_server(query: str, settings: dict[str, str]) -> None:
    assert parse_with_asyncpg(f"postgres://u:p@h/d{query}")[1].server_settings == settings


@pytest.mark.parametrize(("mode", "checks_name"), [("verify-ca", False), ("verify-full", True), ("require", False)])
def test_own_root_certificate_is_trusted(tmp_path: Path, mode: str, *, checks_name: bool) -> None:
    root = tmp_path / "root certificate.pem"
    trustme.CA().cert_pem.write_to_path(str(root))

    context = DatabaseURL.parse(f"postgres://u:p@h/d?sslmode={mode}&sslrootcert={quote(str(root))}").ssl

    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, checks_name)
    assert len(context.get_ca_certs()) == 1


def test_repr_holds_no_secret() -> None:
    parsed = DatabaseURL.parse(f"postgres://user:{SECRET}@h.example:5433/audifi?options={SECRET}")

    assert SECRET not in repr(parsed)
    assert parsed.location == "h.example:5433/audifi"


def test_pg_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": "evil.example",
        "PGPORT": "7777",
        "PGUSER": "mallory",
        "PGDATABASE": "other",
        "PGSSLMODE": "disable",
        "PGSSLNEGOTIATION": "direct",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, value)

    addresses, parameters = parse_with_asyncpg("postgres://u:p@h")

    assert addresses == [("h", 5432)]
    assert (parameters.user, parameters.database) == ("u", "u")
    assert (parameters.sslmode.name, parameters.ssl_negotiation) == ("require", "postgres")
    assert parameters.target_session_attrs == "any"
