"""Problems of masters. Their codes are part of the contract."""

from audifi.core.http.problems import FieldError, Problem

LACKS = {
    "rights": "Confirm that you hold the rights.",
    "audio": "Upload the audio, and wait until it is verified.",
    "cover": "Upload the cover, and wait until it is verified.",
    "tracks": "Add at least one track.",
}
"""What a master needs before it can be submitted: names in the code, and what the artist has to do."""


def limit_reached(limit: int) -> Problem:
    return Problem(409, "master.limit_reached", "Too many masters", f"An account can register {limit} masters.")


def incomplete(lacks: list[str]) -> Problem:
    errors = [FieldError(code=f"{name}_missing", detail=LACKS[name], pointer=f"/{name}") for name in lacks]
    return Problem(
        409, "master.incomplete", "Incomplete master", "Add what `errors` names, then submit again.", errors=errors
    )


def frozen(fields: list[str]) -> Problem:
    errors = [FieldError(code="frozen", detail="Can't be changed any more", pointer=f"/{name}") for name in fields]
    return Problem(
        409,
        "master.frozen",
        "Frozen master",
        "Of an offered master only description, genre and mood tags can change; of an archived one, nothing.",
        errors=errors,
    )


def suspended() -> Problem:
    return Problem(409, "master.suspended", "Suspended master", "An operator has suspended it. Contact the support.")


def offered() -> Problem:
    return Problem(409, "master.offered", "Offered master", "Shares of it were offered; it can't be archived.")


def not_draft() -> Problem:
    return Problem(
        409,
        "master.not_draft",
        "Not a draft",
        "Only a draft can be submitted. A rejected master is a draft again after a change.",
    )


def not_submitted() -> Problem:
    return Problem(409, "master.not_submitted", "Not submitted", "Only a submitted master can be reviewed.")


def not_approved() -> Problem:
    return Problem(409, "master.not_approved", "Not approved", "Only shares of an approved master can be offered.")


def isrc_already_offered() -> Problem:
    return Problem(
        409,
        "isrc.already_offered",
        "Recording already offered",
        "A track's ISRC is in another master whose shares are offered. Remove the track, or contact the support.",
    )


def too_many_uploads(limit: int) -> Problem:
    return Problem(
        409,
        "upload.limit_reached",
        "Too many uploads at once",
        f"An account can have {limit} uploads at once. Complete one, or wait until its URL has expired.",
    )


def upload_expired() -> Problem:
    return Problem(409, "upload.expired", "Expired upload", "Its URL has expired. Begin another upload.")


def statement_outdated() -> Problem:
    return Problem(
        409,
        "rights.statement_outdated",
        "Outdated rights statement",
        "Show the person the present statement, and send its version.",
    )
