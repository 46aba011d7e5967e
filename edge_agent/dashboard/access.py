"""Who asks, and what a role may do."""

from typing import Literal, NamedTuple

from flask import g, request

Role = Literal["viewer", "operator", "admin"]
# Each may do what the ones before it may.
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


class Person(NamedTuple):
    """Who asks."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Tell whether this person's role includes ``role``."""
        return ROLES.index(self.role) >= ROLES.index(role)


# Whoever sits at this machine while the page listens on loopback without users.
LOCAL = Person("", "admin")


def person() -> Person:
    """Return who asks in the request under way."""
    known: Person = g.get("person", LOCAL)
    return known


def actor() -> str:
    """Return who asks, for the audit log."""
    return " ".join(part for part in ("dashboard", person().name, request.remote_addr or "") if part)
