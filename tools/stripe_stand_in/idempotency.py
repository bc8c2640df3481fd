"""Answers by Idempotency-Key (https://docs.stripe.com/api/idempotent_requests)."""

from dataclasses import dataclass, field
from typing import Any

from tools.stripe_stand_in.errors import StripeError
from tools.stripe_stand_in.world import DAY, World

MAX_KEY_LENGTH = 255


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: dict[str, Any]
    request_id: str


@dataclass(kw_only=True)
class Answers:
    """The answers of the last 24 hours, errors included, 500 too."""

    world: World
    _answers: dict[tuple[str | None, str], tuple[int, Any, Answer]] = field(default_factory=dict)

    def find(self, account: str | None, key: str, request: Any) -> Answer | None:
        """Return the answer that is repeated.

        Raises:
            StripeError: the key was used with another endpoint or other parameters.
        """
        if len(key) > MAX_KEY_LENGTH:
            message = f"Idempotency keys can be at most {MAX_KEY_LENGTH} characters long."
            raise StripeError(400, "invalid_request_error", message, saved=False)
        saved_at, saved_request, answer = self._answers.get((account, key), (0, None, None))
        if answer is None or saved_at + DAY <= self.world.now:
            return None
        if saved_request != request:
            message = (
                "Keys for idempotent requests can only be used with the same endpoint and the same parameters "
                f"they were first used with. Try using a key other than '{key}' for a different request."
            )
            raise StripeError(400, "idempotency_error", message, saved=False)
        return answer

    def save(self, account: str | None, key: str, request: Any, answer: Answer) -> None:
        self._answers[account, key] = (self.world.now, request, answer)
