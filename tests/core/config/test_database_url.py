"""DATABASE_URL as people and platforms write it, parsed. tests/core/db/test_connection.py connects with it."""

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


def what_asyncpg_reads(url: str) -> tuple[list[Any], Any]:
    """The addresses and parameters that asyncpg makes of what we hand it."""
    unset = dict.fromkeys(
        "passfile service servicefile direct_tls ssl server_settings target_session_attrs krbsrvname gsslib".split()
    )
    addresses, parameters = _parse_connect_dsn_and_args(**unset | DatabaseURL.parse(url).arguments())
    return addresses, parameters


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "POSTGRES"])
def test_each_scheme_is_read(scheme: str) -> None:
    addresses, parameters = what_asyncpg_reads(f"{scheme}://user:{SECRET}@db.example:6543/audifi?sslmode=disable")

    assert addresses == [("db.example", 6543)]
    assert (parameters.user, parameters.password, parameters.database) == ("user", SECRET, "audifi")


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("postgres://u@[::1]:5433/d", [("::1", 5433)]),
        ("postgres://u@[2001:db8::7]/d?sslmode=disable", [("2001:db8::7", 5432)]),
        ("postgres://u@one:1,two:2/d?sslmode=disable", [("one", 1), ("two", 2)]),
        ("postgresql:///d?host=/var/run/postgresql&user=u", ["/var/run/postgresql/.s.PGSQL.5432"]),
        ("postgresql://u@/d?host=/tmp/sockets&port=5433", ["/tmp/sockets/.s.PGSQL.5433"]),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/d", ["/var/run/postgresql/.s.PGSQL.5432"]),
        ("postgresql://u@/d?host=db.example&sslmode=disable", [("db.example", 5432)]),
        ("postgresql://u@/d?host=::1", [("::1", 5432)]),
        ("postgresql://u@/d?host=/tmp,db.example&sslmode=require", ["/tmp/.s.PGSQL.5432", ("db.example", 5432)]),
        ("postgresql://u@/d?host=one,two&port=1,2", [("one", 1), ("two", 2)]),
        ("postgresql://u@one,two/d?port=7", [("one", 7), ("two", 7)]),
        ("postgresql://u@one:1,two/d", [("one", 1), ("two", 5432)]),
        ("postgresql://u@/d?host=%252Ftmp&sslmode=disable", [("%2Ftmp", 5432)]),
    ],
)
def test_hosts_ports_and_sockets_are_read(url: str, addresses: list[object]) -> None:
    assert what_asyncpg_reads(url)[0] == addresses


@given(user=st.text(min_size=1), password=st.text(min_size=1), database=st.text(min_size=1))
def test_any_percent_encoded_credentials_survive(user: str, password: str, database: str) -> None:
    if "\0" in user + password + database:
        return  # PostgreSQL can't take it; refused, see below
    user, password, database = (t.encode(errors="replace").decode() for t in (user, password, database))
    quoted = [quote(text, safe="") for text in (user, password, database)]
    url = "postgres://{}:{}@db.example/{}?sslmode=disable".format(*quoted)

    parameters = what_asyncpg_reads(url)[1]

    assert (parameters.user, parameters.password, parameters.database) == (user, password, database)


@given(st.text())
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    for url in (text, f"postgres://{text}", f"postgres://u:{text}@db.example/d", f"postgres://u@db.example/d?{text}"):
        try:
            DatabaseURL.parse(url)
        except ValueError as error:
            assert str(error)[0].islower()


@pytest.mark.parametrize(
    ("host", "mode"),
    [
        ("audifi-db.flycast", "disable"),  # what `flyctl postgres attach` means, should its sslmode be lost
        ("top2.nearest.of.audifi-db.internal", "disable"),
        ("localhost", "prefer"),
        ("127.0.0.1", "prefer"),
        ("[::1]", "prefer"),
        ("%2Ftmp", "prefer"),
        ("db.example", "require"),
        ("10.0.0.7", "require"),
        ("localhost,db.example", "require"),
        ("audifi-db.internal,db.example", "require"),
        ("%2Ftmp,db.example", "require"),
        ("AUDIFI-DB.FLYCAST", "disable"),
    ],
)
def test_without_sslmode_only_a_private_network_goes_without_tls(host: str, mode: str) -> None:
    assert f"sslmode={mode}" in DatabaseURL.parse(f"postgres://u:p@{host}/d").parameters


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require"])
@pytest.mark.parametrize("name", ["sslmode", "ssl"])
def test_sslmode_is_handed_on(name: str, mode: str) -> None:
    parsed = DatabaseURL.parse(f"postgres://u:p@db.example/d?{name}={mode}")

    assert parsed.ssl is None
    assert f"sslmode={mode}" in parsed.parameters


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=verify-full",
        "sslmode=verify-ca",
        "sslmode=verify-full&sslrootcert=system",
        "sslrootcert=system",
        "sslmode=require&channel_binding=require",  # as Neon hands it out
        "channel_binding=require",
        "sslmode=disable&channel_binding=require",
    ],
)
def test_what_asks_for_a_verified_server_gets_certificate_and_host_name_checked(query: str) -> None:
    context = DatabaseURL.parse(f"postgres://u:p@db.example/d?{query}").ssl

    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("query", ["", "?channel_binding=prefer", "?channel_binding=disable"])
def test_optional_channel_binding_changes_nothing(query: str) -> None:
    assert DatabaseURL.parse(f"postgres://u:p@db.example/d{query}").ssl is None


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", None), ("connect_timeout=7", 7), ("connect_timeout=0", None), ("connect_timeout=-1", None)],
)
def test_connect_timeout_is_translated_and_never_endless(query: str, seconds: float | None) -> None:
    parsed = DatabaseURL.parse(f"postgres://u:p@db.example/d?{query}")

    assert parsed.connect_timeout_seconds == seconds
    assert "connect_timeout" not in parsed.parameters


def test_application_name_and_options_reach_the_server_as_written() -> None:
    parameters = what_asyncpg_reads(
        "postgres://u:p@db.example/d?sslmode=disable&application_name=a+b&options=-c%20search_path%3Dx"
    )[1]

    assert parameters.server_settings == {"application_name": "a+b", "options": "-c search_path=x"}


def test_the_application_is_named_when_the_url_does_not() -> None:
    assert what_asyncpg_reads("postgres://u:p@db.example/d")[1].server_settings == {"application_name": "audifi-api"}


def test_target_session_attrs_is_handed_on() -> None:
    parameters = what_asyncpg_reads("postgres://u:p@a,b/d?sslmode=disable&target_session_attrs=read-write")[1]

    assert parameters.target_session_attrs == "read-write"


@pytest.mark.parametrize(
    "harmless",
    ["keepalives=1", "keepalives_idle=30", "tcp_user_timeout=10", "gssencmode=prefer", "sslsni=1", "sslmode="],
)
def test_what_asyncpg_lacks_and_weakens_nothing_is_left_out(harmless: str) -> None:
    assert what_asyncpg_reads(f"postgres://u:p@db.example/d?{harmless}")[1].server_settings == {
        "application_name": "audifi-api"
    }


@pytest.mark.parametrize(
    ("url", "pgbouncer"),
    [
        ("postgres://u:p@ep-cool-1-pooler.us-east-2.aws.neon.tech/d?sslmode=require", True),
        ("postgres://u:p@EP-COOL-1-POOLER.us-east-2.aws.neon.tech/d?sslmode=require", True),
        ("postgres://u:p@ep-cool-1.us-east-2.aws.neon.tech/d?sslmode=require", False),
        ("postgres://u:p@aws-0-us-east-1.pooler.supabase.com:6543/d", True),
        ("postgres://u:p@aws-0-us-east-1.pooler.supabase.com:5432/d", False),  # session mode
        ("postgres://u:p@pgbouncer.abc123.flympg.net/d", True),
        ("postgres://u:p@db.example/d?pgbouncer=true", True),
        ("postgres://u:p@db.example/d?pgbouncer=false", False),
        ("postgres://u:p@audifi-db.flycast:5432/d?sslmode=disable", False),
    ],
)
def test_a_transaction_pooler_is_detected(url: str, *, pgbouncer: bool) -> None:
    assert DatabaseURL.parse(url).pgbouncer is pgbouncer


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "is empty"),
        ("mysql://u:s3cr3t@h/d", "must start with postgres://"),
        ("'postgres://u:s3cr3t@h/d'", "must start with postgres://"),
        ("postgres://u:s3cr3t@more@h/d", "percent-encode it: @ is %40"),
        ("postgres://u:s3cr3t/more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t#more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t?more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t\nmore@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t%00@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t@::1/d", "must name its hosts"),
        ("postgres://u:s3cr3t@[::1/d", "IPv6 address goes in brackets"),
        ("postgres://u:s3cr3t@h:99999/d", "port must be a number from 1 to 65535"),
        ("postgres://u:s3cr3t@h/d?port=99999", "port must be a number from 1 to 65535"),
        ("postgres://u:s3cr3t@h/d?port=,", "port must be a number from 1 to 65535"),
        ("postgres://u:s3cr3t@one,two/d?port=1,2,3", "one for all hosts or one for each"),
        ("postgres://u:s3cr3t@h,/d", "must name its hosts"),
        ("postgres://u:s3cr3t@/d?host=h,", "names no host, or an empty one"),
        ("postgres://u:s3cr3t@/d", "names no host"),
        ("postgres://u:s3cr3t@a..b/d", "names a host that can't exist"),
        ("postgres://u:a@s3cr3t/more@h/d", "percent-encode it"),
        ("postgres://u:s3cr3t@h/d?host=other", "says host twice"),
        ("postgres://u:s3cr3t@h/d?dbname=other", "says dbname twice"),
        ("postgres://u:s3cr3t@h/d?user=other", "says user twice"),
        ("postgres://u:s3cr3t@h/d?password=other", "says password twice"),
        ("postgres://u:s3cr3t@h:1/d?port=2", "says port twice"),
        ("postgres://u:s3cr3t@h/d?sslmode=verify-full&ssl=disable", "says ssl and sslmode"),
        ("postgres://u:s3cr3t@h/d?ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version must be one of"),
        ("postgres://u:s3cr3t@h/d?sslcert=/no/such/file", "sslcert names a file that isn't there"),
        (f"postgres://u:s3cr3t@h/d?sslrootcert={__file__}", "sslrootcert names a file that holds no certificate"),
        ("postgres://u:s3cr3t@localhost/d?sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require"),
        ("postgres://u:s3cr3t\udcff@h/d", "broken UTF-8"),
        ("postgres://u:s3cr3t@h:abc/d", "must name its hosts"),
        ("postgres://u:s3cr3t@:5432/d", "must name its hosts"),
        ("postgres://u:s3cr3t@h/d?port=abc", "port must be a number"),
        ("postgres://u:s3cr3t@h/d?sslmode=s3cr3t", "sslmode must be one of disable, allow"),
        ("postgres://u:s3cr3t@h/d?ssl=on", "ssl must be one of"),
        ("postgres://u:s3cr3t@h/d?connect_timeout=soon", "connect_timeout must be a whole number"),
        ("postgres://u:s3cr3t@h/d?target_session_attrs=any-old", "target_session_attrs must be one of"),
        ("postgres://u:s3cr3t@h/d?channel_binding=maybe", "channel_binding must be one of"),
        ("postgres://u:s3cr3t@h/d?gssencmode=require", "gssencmode must be one of"),
        ("postgres://u:s3cr3t@h/d?require_auth=scram-sha-256", "parameter require_auth"),
        ("postgres://u:s3cr3t@h/d?hostaddr=10.0.0.1", "parameter hostaddr"),
        ("postgres://u:s3cr3t@h/d?statement_timeout=5", "parameter statement_timeout"),
        ("postgres://u:s3cr3t@h/d?S3cr3t-piece", "a parameter"),
        ("postgres://u:s3cr3t@h/d?sslrootcert=/no/such/file&sslmode=verify-ca", "sslrootcert names a file that isn't"),
        ("postgres://u:s3cr3t@h/d?sslrootcert=system&sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        (f"postgres://u:s3cr3t@h/d?sslmode=verify-full&sslcert={__file__}", "sslcert needs sslrootcert"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_without_its_value(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        DatabaseURL.parse(url)

    assert sentence in str(refusal.value)
    assert "s3cr3t" not in str(refusal.value).lower()


def test_a_root_certificate_of_ones_own_is_handed_on(tmp_path: Path) -> None:
    root = tmp_path / "root certificate.pem"
    trustme.CA().cert_pem.write_to_path(str(root))

    parsed = DatabaseURL.parse(f"postgres://u:p@h/d?sslmode=verify-ca&sslrootcert={quote(str(root), safe='')}")

    assert parsed.ssl is None
    assert quote(str(root), safe="") in parsed.parameters


def test_its_repr_holds_no_secret() -> None:
    parsed = DatabaseURL.parse(f"postgres://user:{SECRET}@db.example:5433/audifi")

    assert SECRET not in repr(parsed)
    assert parsed.location == "db.example:5433/audifi"


def test_no_pg_variable_decides_for_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": "evil.example",
        "PGPORT": "7777",
        "PGUSER": "mallory",
        "PGDATABASE": "other",
        "PGSSLMODE": "disable",
        "PGSSLNEGOTIATION": "direct",
    }.items():
        monkeypatch.setenv(name, value)

    addresses, parameters = what_asyncpg_reads("postgres://u:p@db.example")

    assert addresses == [("db.example", 5432)]
    assert (parameters.user, parameters.database) == ("u", "u")
    assert parameters.sslmode.name == "require"
    assert parameters.ssl_negotiation == "postgres"
