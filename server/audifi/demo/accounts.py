"""Artists, fans and an administrator: accounts that were made by signing in with a link."""

from dataclasses import dataclass

from audifi.auth import addresses
from audifi.auth.cli import change_role
from audifi.auth.context import AuthContext
from audifi.auth.jobs import SignInEmail
from audifi.auth.models import Role
from audifi.auth.service import request_link, update_user, verify_link
from audifi.core.http.client_info import ClientInfo
from audifi.demo.world import DOMAIN, OPERATOR, Part, World
from audifi.ipos.queries import SET_VISIBILITY


@dataclass(frozen=True, kw_only=True)
class Person:
    """An account of the demo."""

    name: str
    """The part of the address before the @."""
    display_name: str
    about: str
    """For the list at the end."""
    role: Role = "fan"
    shows_name: bool = False
    """Whether the name appears among the holders of a master."""


PEOPLE = (
    Person(name="mira", display_name="Mira Solano", about="artist: sold out, live, and paid out"),
    Person(name="juno", display_name="Juno Abara", about="artist: scheduled and paused"),
    Person(name="parade", display_name="The Quiet Parade", about="artists: canceled, and drafts"),
    Person(name="noor", display_name="Noor Haddad", about="collaborator with a part of the proceeds"),
    Person(name="ada", display_name="Ada Lindqvist", about="fan, first buyer, shows her name", shows_name=True),
    Person(name="ben", display_name="Ben Okafor", about="fan with shares of several masters", shows_name=True),
    Person(name="chiara", display_name="Chiara Conti", about="fan who withdrew, has a reservation"),
    Person(name="finn", display_name="Finn Jansen", about="fan in debt after a chargeback"),
    Person(name="elif", display_name="Elif Kaya", about="fan who bought in a resale"),
    Person(name="admin", display_name="Robin Vega", about="administrator: reviews, pauses, cancels", role="admin"),
)
DAYS_AGO = 40


async def is_there(world: World) -> bool:
    return await world.find_user(PEOPLE[-1].name) is not None


async def make(world: World) -> None:
    services = world.services
    context = AuthContext(
        database=services.database,
        now=world.ago(days=DAYS_AGO),
        client=ClientInfo(ip=None, user_agent="demo"),
        keys=services.keys,
        revoked=services.revoked_sessions,
    )
    for person in PEOPLE:
        email = f"{person.name}@{DOMAIN}"
        await request_link(context, world.jobs, address=addresses.parse(email), redirect_to=None, delivery="body")
        link, *_ = services.keys.links(SignInEmail.from_bytes(world.jobs.payloads.pop()).seed, email=email)
        signed_in = await verify_link(context, token=link.token, flow_secret=None, confirm=True, replaces=None)
        await update_user(context, user_id=signed_in.user.id, display_name=person.display_name)
        async with services.database.transaction() as tx:
            await change_role(tx, email, person.role, by=OPERATOR)
            await tx.execute(SET_VISIBILITY, user_id=signed_in.user.id, is_public=person.shows_name)
    world.say(f"{len(PEOPLE)} accounts have signed in")


PART = Part(name="accounts", is_there=is_there, make=make)
