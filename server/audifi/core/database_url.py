"""DATABASE_URL as Fly Postgres, Neon, Supabase and libpq write it, made into what asyncpg takes.

libpq's parameters: https://www.postgresql.org/docs/16/libpq-connect.html#LIBPQ-PARAMKEYWORDS. asyncpg reads hosts,
credentials and most parameters itself; what it would misread is translated into something at least as strict, or
refused by name. No error repeats a value, which could be a piece of the password.
"""

import re
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_ACCEPTED_VALUES = {
    "sslmode": SSL_MODES,
    "ssl": SSL_MODES,  # SQLAlchemy's and asyncpg's name for sslmode
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),  # asyncpg doesn't encrypt with GSSAPI, so it can't `require` it
    "pgbouncer": ("true", "false"),  # Prisma's name, which Supabase's dashboard hands out
}
_HANDED_ON = frozenset(
    "host port dbname user password passfile sslmode sslcert sslkey sslpassword sslrootcert sslcrl sslnegotiation "
    "ssl_min_protocol_version ssl_max_protocol_version target_session_attrs krbsrvname application_name options".split()
)
_TRANSLATED = frozenset({"connect_timeout", "channel_binding", "pgbouncer", "ssl"})
_WITHOUT_EFFECT = frozenset(  # asyncpg has no such knob, and its absence weakens nothing
    "fallback_application_name gssencmode keepalives keepalives_idle keepalives_interval keepalives_count "
    "tcp_user_timeout sslcompression sslsni".split()
)
_NEED_SSLROOTCERT = ("sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version")

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]+\]|[^\[\]:@]+)(?::([0-9]{1,5}))?")
_POOLED_HOST = re.compile(r"-pooler\.[\w.-]+\.neon\.tech$|^pgbouncer\.[\w-]+\.flympg\.net$")
_PRIVATE_HOST = re.compile(r".+\.(flycast|internal)\.?", re.IGNORECASE)  # on Fly's encrypted private network


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseURL:
    """Where PostgreSQL is and how to reach it. Its repr holds no secret."""

    dsn: str = field(repr=False)
    """For `asyncpg.connect`, with nothing in it that asyncpg would misread."""
    ssl: ssl.SSLContext | None
    """Checks certificate and host name against the system's authorities. None: the DSN's sslmode decides."""
    connect_timeout_seconds: float | None
    pgbouncer: bool
    """Whether the URL tells of a PgBouncer in transaction mode."""
    location: str
    """Hosts, ports and database, for people."""

    @classmethod
    def parse(cls, url: object) -> Self:
        """Read a connection URI.

        Raises:
            ValueError: a sentence that says what to change.
        """
        if not isinstance(url, str) or not url.strip():
            raise ValueError("is empty; it looks like postgres://USER:PASSWORD@HOST:5432/DATABASE")
        parts = _split(url.strip())
        parameters = _parameters(parts.query)
        credentials, at, hostspec = parts.netloc.rpartition("@")
        hosts = _hosts(hostspec or parameters.get("host", ""))

        connect_timeout = parameters.pop("connect_timeout", "") or "0"
        if not re.fullmatch(r"-?[0-9]{1,9}", connect_timeout):
            raise ValueError("connect_timeout must be a whole number of seconds")
        pgbouncer = parameters.pop("pgbouncer", "") == "true" or any(
            _POOLED_HOST.search(name) or (name.endswith(".pooler.supabase.com") and port == "6543")
            for name, port in hosts
        )
        parameters.setdefault("application_name", "audifi-api")
        context = _translate_ssl(parameters, [name for name, _ in hosts])
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        where = ",".join(f"{name}:{port or parameters.get('port', '5432')}" for name, port in hosts) or "local socket"
        database = unquote(parts.path.removeprefix("/")) or parameters.get("dbname", "")
        return cls(
            dsn=f"postgresql://{credentials}{at}{hostspec}{parts.path}?{query}",
            ssl=context,
            # libpq waits for ever at 0 or less; here the setting's default bounds it.
            connect_timeout_seconds=float(connect_timeout) if int(connect_timeout) > 0 else None,
            pgbouncer=pgbouncer,
            location=f"{where}/{database}",
        )


def _split(url: str) -> SplitResult:
    """The parts of a URI, once it is sure that no raw character of a password has moved their borders."""
    if re.search(r"[\x00-\x20\x7f]|%00", url):
        raise ValueError("has a space or control character in it; percent-encode it (a space is %20)")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("must start with postgres:// or postgresql://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("isn't a valid URI; an IPv6 address goes in brackets, as in [::1]:5432") from None
    if parts.netloc.count("@") > 1 or parts.fragment or ("@" not in parts.netloc and "@" in parts.path + parts.query):
        raise ValueError(
            "has a special character in user or password; percent-encode it: @ is %40, / %2F, # %23, ? %3F"
        )
    return parts


def _parameters(query: str) -> dict[str, str]:
    """The query's parameters, the last of each name, empty ones left out as libpq does. '+' stays '+', as in libpq."""
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in _HANDED_ON | _TRANSLATED | _WITHOUT_EFFECT:
            shown = f"parameter {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else "a parameter"
            raise ValueError(
                f"has {shown} that this server can't honour; remove it (settings of the session go in options)"
            )
        if value and name not in _WITHOUT_EFFECT - _ACCEPTED_VALUES.keys():
            parameters[name] = unquote(value)
    for name, accepted in _ACCEPTED_VALUES.items():
        if parameters.get(name, accepted[0]) not in accepted:
            raise ValueError(f"{name} must be one of {', '.join(accepted)}")
    parameters.pop("gssencmode", None)
    if not re.fullmatch(r"[0-9,]*", parameters.get("port", "")):
        raise ValueError("port must be a number")
    return parameters


def _hosts(hostspec: str) -> list[tuple[str, str]]:
    """(name, port or "") of each host, in order. A name that starts with / is a Unix socket's folder."""
    hosts = []
    for spec in filter(None, [hostspec] if hostspec.startswith("/") else hostspec.split(",")):
        match = _HOST_AND_PORT.fullmatch(spec)
        if not match or int(match[2] or 1) not in range(1, 65536):
            raise ValueError(
                "must name its hosts as HOST or HOST:PORT; special characters in a password are percent-encoded"
            )
        hosts.append((unquote(match[1]).strip("[]"), match[2] or ""))
    return hosts


def _translate_ssl(parameters: dict[str, str], hosts: list[str]) -> ssl.SSLContext | None:
    """Settle `sslmode` in `parameters`, and return a context where the system's authorities are to be asked.

    - Without sslmode, Fly's private hosts have no TLS, this machine's own may have it, and all others must (libpq's
      default, `prefer`, would let an attacker in the path turn it off).
    - channel_binding=require asks for proof that the server itself is at the other end of the TLS channel. asyncpg has
      no SCRAM-SHA-256-PLUS; verify-full gives that proof by the certificate.
    - verify-* without sslrootcert means ~/.postgresql/root.crt to libpq, and an error without it; the system's
      authorities serve as with sslrootcert=system, and as there the host name is always checked.
    """
    mode = parameters.pop("ssl", None) or parameters.get("sslmode")
    if mode is None:
        if any(_PRIVATE_HOST.fullmatch(host) for host in hosts):
            mode = "disable"
        else:
            mode = "prefer" if all(map(_is_this_machine, hosts)) else "require"
    if parameters.pop("channel_binding", None) == "require" and not all(host.startswith("/") for host in hosts):
        mode = "verify-full"
    root = parameters.get("sslrootcert")
    if root == "system":
        del parameters["sslrootcert"]
        if parameters.get("sslmode", "verify-full") != "verify-full":
            raise ValueError("sslrootcert=system needs sslmode=verify-full")
        mode = "verify-full"
    elif root and not Path(root).is_file():
        raise ValueError("sslrootcert names a file that isn't there")
    parameters["sslmode"] = mode
    if "sslrootcert" in parameters or not mode.startswith("verify-"):
        return None
    for name in _NEED_SSLROOTCERT:
        if name in parameters:
            raise ValueError(f"{name} needs sslrootcert=FILE beside it when the certificate is verified")
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])  # for sslnegotiation=direct
    return context


def _is_this_machine(host: str) -> bool:
    if host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
