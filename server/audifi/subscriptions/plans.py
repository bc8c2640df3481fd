"""What the plans contain, by plan and version.

A price keeps the version that it was sold with, unless a later one only adds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

type PlanName = Literal["FREE", "PRO", "ENTERPRISE"]
type PaidPlan = Literal["PRO", "ENTERPRISE"]
type LimitKey = Literal["masters", "studio_sessions"]
type PlanFeature = Literal[
    "royalty_terms",
    "artist_coin",
    "custom_gates",
    "launch_from_session",
    "recording",
    "hd",
    "viewer_analytics",
    "advanced_analytics",
    "uhd",
    "multi_host",
    "private_sessions",
    "custom_branding",
    "white_label",
    "api_access",
]

PLANS: tuple[PlanName, ...] = get_args(PlanName.__value__)
"""From the lowest to the highest."""
LIMIT_KEYS: tuple[LimitKey, ...] = get_args(LimitKey.__value__)
MONTHLY: frozenset[LimitKey] = frozenset({"studio_sessions"})
"""Limits that count by the month, in UTC. The others count what exists."""
VERSION = 1
"""What is sold and granted now."""

_PRO: frozenset[PlanFeature] = frozenset(
    {
        "royalty_terms",
        "artist_coin",
        "custom_gates",
        "launch_from_session",
        "recording",
        "hd",
        "viewer_analytics",
        "advanced_analytics",
    }
)


@dataclass(frozen=True, kw_only=True)
class Entitlements:
    """What a plan contains."""

    limits: Mapping[LimitKey, int | None]
    """None: no limit of the plan's; every account has the platform's own."""
    decisions_per_session: int
    features: frozenset[PlanFeature]

    def includes(self, other: "Entitlements") -> bool:
        """Return whether there is nothing in the other that isn't here."""
        return (
            all(_at_least(self.limits[key], bound) for key, bound in other.limits.items())
            and self.decisions_per_session >= other.decisions_per_session
            and self.features >= other.features
        )


def _at_least(bound: int | None, other: int | None) -> bool:
    return bound is None or (other is not None and bound >= other)


ENTITLEMENTS: Mapping[tuple[PlanName, int], Entitlements] = {
    ("FREE", 1): Entitlements(
        limits={"masters": 1, "studio_sessions": 1}, decisions_per_session=1, features=frozenset()
    ),
    ("PRO", 1): Entitlements(
        limits={"masters": None, "studio_sessions": None}, decisions_per_session=10, features=_PRO
    ),
    ("ENTERPRISE", 1): Entitlements(
        limits={"masters": None, "studio_sessions": None},
        decisions_per_session=10,
        features=frozenset(get_args(PlanFeature.__value__)),
    ),
}

SERVICES: Mapping[PlanName, tuple[str, ...]] = {
    "FREE": ("Help pages and community",),
    "PRO": ("Support by e-mail", "Early access to new features"),
    "ENTERPRISE": ("Support by a named contact", "Early access to new features", "Help with legal questions"),
}
"""What people do for a plan's accounts; shown, and nothing asks for it."""


def plan_with_feature(feature: PlanFeature) -> PlanName:
    """Return the lowest plan that has a feature."""
    return next(plan for plan in PLANS if feature in ENTITLEMENTS[plan, VERSION].features)


def plan_above(key: LimitKey, limit: int) -> PlanName | None:
    """Return the lowest plan that allows more than a limit; None if there is none."""
    bounds = {plan: ENTITLEMENTS[plan, VERSION].limits[key] for plan in PLANS}
    return next((plan for plan, bound in bounds.items() if bound is None or bound > limit), None)
