"""DATABASE_URL as Fly Postgres, Neon, Supabase and libpq write it, made into what asyncpg takes.

libpq's parameters: https://www.postgresql.org/docs/16/libpq-connect.html#LIBPQ-PARAMKEYWORDS. Hosts and credentials are
read here, once, and each given to asyncpg as an argument, so that it can't read them otherwise and no PG* variable
decides for a URL that says nothing. What asyncpg would misread is translated into something at least as strict, or
refused by name. No error repeats a value, which could be a piece of the password.
"""

import getpass
import re
import ssl
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, quote, unquote, urlsplit

_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_ACCEPTED_VALUES = {
    "sslmode": _SSL_MODES,
    "ssl": _SSL_MODES,  # SQLAlchemy's and asyncpg's name for sslmode
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": _TLS_VERSIONS,
    "ssl_max_protocol_version": _TLS_VERSIONS,
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer"),  # asyncpg doesn't encrypt with GSSAPI, so it can't `require` it
    "pgbouncer": ("true", "false"),  # Prisma's name, which Supabase's dashboard hands out
}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_HANDED_ON = frozenset(
    "passfile sslcert sslkey sslpassword sslrootcert sslcrl sslnegotiation ssl_min_protocol_version "
    "ssl_max_protocol_version target_session_attrs krbsrvname application_name options".split()
)
_TRANSLATED = frozenset("host port dbname user password connect_timeout channel_binding pgbouncer ssl sslmode".split())
_WITHOUT_EFFECT = frozenset(  # asyncpg has no such knob, and its absence weakens nothing
    "fallback_application_name gssencmode keepalives keepalives_idle keepalives_interval keepalives_count "
    "tcp_user_timeout sslcompression sslsni".split()
)
_NEED_SSLROOTCERT = ("sslcert", "sslkey", "sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version")

_HOST_AND_PORT = re.compile(r"(\[[^\[\]]+\]|[^\[\]:@]+)(?::([0-9]{1,5}))?")
_POOLED_HOST = re.compile(r"-pooler\.[\w.-]+\.neon\.tech$|^pgbouncer\.[\w-]+\.flympg\.net$")
_PRIVATE_HOST = re.compile(r".+\.(flycast|internal)\.?")  # on Fly's encrypted private network


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseURL:
    """Where PostgreSQL is and how to reach it. Its repr holds no secret."""

    hosts: tuple[str, ...]
    """Names, addresses, or folders of Unix sockets; tried in this order."""
    ports: tuple[int, ...]
    user: str
    password: str | None = field(repr=False)
    database: str
    parameters: str = field(repr=False)
    """The rest, as a URI's query, for asyncpg to read."""
    ssl: ssl.SSLContext | None
    """Checks certificate and host name against the system's authorities. None: sslmode decides."""
    connect_timeout_seconds: float | None
    pgbouncer: bool
    """Whether the URL tells of a PgBouncer in transaction mode."""

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
        credentials, _, hostspec = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        hosts, ports = _hosts_and_ports(hostspec, parameters)
        user = _once("user", unquote(user), parameters) or _system_user()
        return cls(
            hosts=hosts,
            ports=ports,
            user=user,
            password=_once("password", unquote(password), parameters) or None,
            database=_once("dbname", unquote(parts.path.removeprefix("/")), parameters) or user,
            connect_timeout_seconds=_connect_timeout_seconds(parameters.pop("connect_timeout", "0")),
            pgbouncer=parameters.pop("pgbouncer", "") == "true" or any(map(_is_pooler, hosts, ports)),
            ssl=_settle_ssl(parameters, hosts),
            parameters="&".join(
                f"{name}={quote(value, safe='')}"
                for name, value in ({"application_name": "audifi-api"} | parameters).items()
            ),
        )

    @property
    def location(self) -> str:
        """Hosts, ports and database, for people."""
        return (
            ",".join(f"{host}:{port}" for host, port in zip(self.hosts, self.ports, strict=True)) + f"/{self.database}"
        )

    def arguments(self) -> dict[str, Any]:
        """What `asyncpg.connect` takes."""
        arguments: dict[str, Any] = {
            "dsn": f"postgresql://?{self.parameters}",
            "host": list(self.hosts),
            "port": list(self.ports),
            "user": self.user,
            "password": self.password,
            "database": self.database,
        }
        return arguments if self.ssl is None else arguments | {"ssl": self.ssl}


def _split(url: str) -> SplitResult:
    """The parts of a URI, once it is sure that no raw character of a password has moved their borders."""
    if re.search(r"[\x00-\x20\x7f\ud800-\udfff]|%00", url):
        raise ValueError("has a space, a control character or broken UTF-8 in it; percent-encode it (a space is %20)")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.lower() not in {"postgres", "postgresql", "postgresql+asyncpg"}:
        raise ValueError("must start with postgres:// or postgresql://")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("isn't a valid URI; an IPv6 address goes in brackets, as in [::1]:5432") from None
    if (
        parts.netloc.count("@") > 1
        or "@" in parts.path
        or parts.fragment
        or ("@" not in parts.netloc and "@" in parts.query)
    ):
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
            raise ValueError(f"has {shown} that this server can't honour; remove it (settings go in options)")
        if value:
            parameters[name] = unquote(value)
    for name, accepted in _ACCEPTED_VALUES.items():
        if parameters.get(name, accepted[0]) not in accepted:
            raise ValueError(f"{name} must be one of {', '.join(accepted)}")
    for name in _FILES:
        if name in parameters and parameters[name] != "system" and not Path(parameters[name]).is_file():
            raise ValueError(f"{name} names a file that isn't there")
    if parameters.get("sslrootcert", "system") != "system":
        _check_certificate(parameters["sslrootcert"])
    return {name: value for name, value in parameters.items() if name not in _WITHOUT_EFFECT}


def _check_certificate(root: str) -> None:
    try:
        ssl.create_default_context(cafile=root)
    except ssl.SSLError:
        raise ValueError("sslrootcert names a file that holds no certificate in PEM form") from None


def _once(name: str, in_authority: str, parameters: dict[str, str]) -> str:
    """What is said in front of the query or in it. libpq prefers the query and asyncpg the front; both is refused."""
    in_query = parameters.pop(name, "")
    if in_authority and in_query:
        raise ValueError(f"says {name} twice, in front of the ? and behind it; remove one")
    return in_authority or in_query


def _hosts_and_ports(hostspec: str, parameters: dict[str, str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The hosts and the port of each. In front of the query an IPv6 address has brackets, in it none, as in libpq."""
    names, ports = [], []
    for spec in hostspec.split(",") if hostspec else []:
        match = _HOST_AND_PORT.fullmatch(spec)
        if not match:
            raise ValueError("must name its hosts as HOST or HOST:PORT; special characters in a password are encoded")
        names.append(unquote(match[1].strip("[]")))
        ports.append(match[2] or "")
    hosts = _once("host", ",".join(names), parameters).split(",")
    port = _once("port", ",".join(filter(None, ports)), parameters)
    if not any(ports):
        ports = port.split(",") if "," in port else [port] * len(hosts)
    for name in hosts:
        if not name:
            raise ValueError("names no host, or an empty one; a Unix socket's folder is a host, as in ?host=/tmp")
        _check_name(name)
    numbers = tuple(int(text or 5432) if re.fullmatch(r"[0-9]{0,5}", text) else 0 for text in ports)
    if len(numbers) != len(hosts) or not all(1 <= number <= 65535 for number in numbers):  # noqa: PLR2004 - TCP's
        raise ValueError("port must be a number from 1 to 65535, one for all hosts or one for each")
    return tuple(hosts), numbers


def _check_name(host: str) -> None:
    try:
        host.startswith("/") or host.encode("idna")
    except UnicodeError:
        raise ValueError("names a host that can't exist: a label is empty or longer than 63 characters") from None


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in the image, where the user is but a number
        raise ValueError("names no user") from None


def _connect_timeout_seconds(text: str) -> float | None:
    """libpq waits for ever at 0 or less; here the setting's default bounds it."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ValueError("connect_timeout must be a whole number of seconds")
    return float(text) if int(text) > 0 else None


def _is_pooler(host: str, port: int) -> bool:
    name = host.lower()
    supabase_transaction_mode = 6543
    return bool(_POOLED_HOST.search(name)) or (
        name.endswith(".pooler.supabase.com") and port == supabase_transaction_mode
    )


def _settle_ssl(parameters: dict[str, str], hosts: tuple[str, ...]) -> ssl.SSLContext | None:
    """Settle `sslmode` in `parameters`, and return a context where the system's authorities are to be asked.

    - Without sslmode, Fly's private hosts have no TLS, this machine's own may have it, and all others must (libpq's
      default, `prefer`, would let an attacker in the path turn it off).
    - channel_binding=require asks for proof that the server itself is at the other end of the TLS channel. asyncpg has
      no SCRAM-SHA-256-PLUS; verify-full gives that proof by the certificate.
    - verify-* without sslrootcert means ~/.postgresql/root.crt to libpq, and an error without it; the system's
      authorities serve as with sslrootcert=system, and as there the host name is always checked.
    """
    said = {parameters[name] for name in ("ssl", "sslmode") if name in parameters}
    parameters.pop("ssl", None)
    if len(said) > 1:
        raise ValueError("says ssl and sslmode, and not the same; remove one")
    mode = said.pop() if said else _default_sslmode(hosts)
    root = parameters.get("sslrootcert")
    if root == "system":
        if parameters.get("sslmode", "verify-full") != "verify-full":
            raise ValueError("sslrootcert=system needs sslmode=verify-full")
        del parameters["sslrootcert"]
        mode = "verify-full"
    if parameters.pop("channel_binding", None) == "require" and not all(host.startswith("/") for host in hosts):
        mode = "verify-full"
    direct = (
        parameters.setdefault("sslnegotiation", "postgres") == "direct"
    )  # set, so that PGSSLNEGOTIATION isn't asked
    if direct and mode in {"disable", "allow", "prefer"}:
        raise ValueError("sslnegotiation=direct needs sslmode=require or more")
    parameters["sslmode"] = mode
    if "sslrootcert" in parameters or not mode.startswith("verify-"):
        return None
    return _system_authorities(parameters)


def _system_authorities(parameters: dict[str, str]) -> ssl.SSLContext:
    for name in _NEED_SSLROOTCERT:
        if name in parameters:
            raise ValueError(f"{name} needs sslrootcert=FILE beside it when the certificate is verified")
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])  # for sslnegotiation=direct
    return context


def _default_sslmode(hosts: tuple[str, ...]) -> str:
    if all(_PRIVATE_HOST.fullmatch(host.lower()) for host in hosts):
        return "disable"
    return "prefer" if all(map(_is_this_machine, hosts)) else "require"


def _is_this_machine(host: str) -> bool:
    if host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
