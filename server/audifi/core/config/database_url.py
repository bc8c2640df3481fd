"""DATABASE_URL, as hosting providers hand it out, checked and made into asyncpg's arguments.

Each argument is given to asyncpg by name, so that neither a second reading of the URL nor a PG* variable decides
where to connect or whether TLS is used. Errors repeat no value of the URL: it could be a piece of the password.
"""

import re
import ssl
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

# `pgbouncer`, which providers hand out for Prisma, has no effect: poolers are recognised (core/db/connection.py).
PARAMETERS = frozenset(
    "host port sslmode sslrootcert channel_binding connect_timeout pgbouncer application_name options".split()
)
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
}
LOCAL_HOST = re.compile(r"/.*|localhost|127(\.[0-9]{1,3}){3}|::1")
DEFAULT_PORT, MAX_PORT = 5432, 65535

# Names on the encrypted private networks of Fly and Railway, where PostgreSQL has no certificate.
PRIVATE_HOSTS = ("*.flycast", "*.internal")
HOST = re.compile(r"/.*|[0-9a-f.]*:[0-9a-f:.]*|([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseURL:
    """Where PostgreSQL is and how to connect to it. The repr holds no secret."""

    host: str
    """A name, an address, or the folder of a Unix socket."""
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    ssl: ssl.SSLContext | str
    """A context that verifies the server, or libpq's sslmode below that."""
    connect_timeout_seconds: float | None
    session: dict[str, str] = field(repr=False)
    """`application_name` and `options` of each connection."""

    @classmethod
    def parse(cls, url: object) -> Self:
        """Read a connection URI.

        Raises:
            ValueError: a sentence that says what to change.
        """
        if not isinstance(url, str) or not url.strip():
            raise ValueError("is empty; it looks like postgres://USER:PASSWORD@HOST:5432/DATABASE")
        parts = _split(url.strip())
        parameters = _read_parameters(parts.query)
        host, port = _read_address(parts, parameters)
        user = unquote(parts.username or "")
        if not user:
            raise ValueError("names no user")
        timeout = parameters.get("connect_timeout", "0")
        if not re.fullmatch(r"-?[0-9]{1,9}", timeout):
            raise ValueError("connect_timeout must be a whole number of seconds")
        return cls(
            host=host,
            port=port,
            user=user,
            password=unquote(parts.password or "") or None,
            database=unquote(parts.path.removeprefix("/")) or user,
            ssl=_read_ssl(parameters, host),
            connect_timeout_seconds=float(timeout) if int(timeout) > 0 else None,  # 0 means no limit to libpq
            session={"application_name": "audifi-api"}
            | {name: parameters[name] for name in ("application_name", "options") if name in parameters},
        )

    @property
    def location(self) -> str:
        """Return host, port and database, for logs and messages."""
        return f"{self.host}:{self.port}/{self.database}"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `asyncpg.connect`; the session's go in its DSN, so that callers can add to them."""
        session = "&".join(f"{name}={quote(value, safe='')}" for name, value in self.session.items())
        values = {"host": self.host, "port": self.port, "user": self.user, "password": self.password}
        fixed = {"target_session_attrs": "any", "direct_tls": False}  # not from PG* variables
        return {"dsn": f"postgresql://?{session}", "database": self.database, "ssl": self.ssl} | values | fixed


def _split(url: str) -> SplitResult:
    """Split a URI; reject unescaped special characters of a password, which would shift its parts."""
    if re.search(r"[\x00-\x20\x7f\ud800-\udfff]|%00", url):
        raise ValueError("has a space, a control character or broken UTF-8 in it; percent-encode it (a space is %20)")
    if url.partition("://")[0].lower() not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("must start with postgres:// or postgresql://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("isn't a valid URI; an IPv6 address goes in brackets, as in [::1]:5432") from None
    moved = "@" in parts.path or parts.fragment or ("@" in parts.query and "@" not in parts.netloc)
    if moved or parts.netloc.count("@") > 1:
        raise ValueError("has a special character in its password; percent-encode it: @ is %40, / %2F, # %23, ? %3F")
    return parts


def _read_parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in PARAMETERS:
            shown = f"parameter {name}" if re.fullmatch(r"[a-z_]{1,40}", name) else "a parameter"
            raise ValueError(f"has {shown} that this server doesn't support; remove it")
        if value:
            parameters[name] = unquote(value)
    for name, choices in CHOICES.items():
        if parameters.get(name, choices[0]) not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}")
    return parameters


def _read_address(parts: SplitResult, parameters: dict[str, str]) -> tuple[str, int]:
    """Read host and port from the authority, or, for Unix sockets, from the query."""
    host, port = parameters.get("host", ""), parameters.get("port", "")
    if authority := parts.netloc.rpartition("@")[2].lower():
        if host or port:
            raise ValueError("names its host or port twice, in front of the ? and behind it; remove one")
        host = parts.hostname or ""
        port = authority.removeprefix(f"[{host}]").removeprefix(host).removeprefix(":")
    if not HOST.fullmatch(host.lower()):
        raise ValueError("must name one host, as HOST or HOST:PORT; an IPv6 address goes in brackets")
    if not re.fullmatch(r"[0-9]{0,5}", port) or not 1 <= int(port or DEFAULT_PORT) <= MAX_PORT:
        raise ValueError("port must be a number from 1 to 65535")
    return host, int(port or DEFAULT_PORT)


def _read_ssl(parameters: dict[str, str], host: str) -> ssl.SSLContext | str:
    """Return asyncpg's `ssl` argument.

    - The default of sslmode is `disable` on private networks, `prefer` on this machine, `require` elsewhere. With
      libpq's default, `prefer`, an attacker on the network could turn TLS off.
    - channel_binding=require becomes verify-full: asyncpg doesn't support SCRAM-SHA-256-PLUS, and verifying certificate
      and host name proves the server's identity, too.
    - Without sslrootcert, verify-ca and verify-full trust the system's authorities and check the host name, because any
      public authority would issue a certificate for an attacker's own domain.
    """
    mode, root = parameters.get("sslmode", ""), parameters.get("sslrootcert", "")
    if root == "system":
        if mode not in {"", "verify-full"}:
            raise ValueError("sslrootcert=system needs sslmode=verify-full")
        mode, root = "verify-full", ""
    if parameters.get("channel_binding") == "require" and not host.startswith("/"):
        mode = "verify-full"
    mode = mode or _default_ssl_mode(host)
    if not root and not mode.startswith("verify-"):
        return mode
    if mode in {"disable", "allow", "prefer"}:
        raise ValueError("sslrootcert needs sslmode=verify-full")
    try:
        context = ssl.create_default_context(cafile=root or None)
    except (OSError, ssl.SSLError):
        raise ValueError("sslrootcert must name a file with a certificate in PEM format") from None
    context.check_hostname = not root or mode == "verify-full"
    return context


def _default_ssl_mode(host: str) -> str:
    if any(fnmatchcase(host.lower(), pattern) for pattern in PRIVATE_HOSTS):
        return "disable"
    return "prefer" if LOCAL_HOST.fullmatch(host.lower()) else "require"
