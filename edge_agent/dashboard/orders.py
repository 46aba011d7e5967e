"""What all orders of a person have in common: our own form, a role, a reason, and an answer in words."""

from collections.abc import Callable
from typing import TypeVar

from flask import Response, request
from werkzeug.wrappers import Response as AnyResponse

from edge_agent.dashboard.access import Role, person
from edge_agent.dashboard.security import FormTokens
from edge_agent.dashboard.words import Words
from edge_agent.errors import AgentError, Code

LONGEST_REASON = 500
_UNANSWERED = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
_STATUS = {Code.NOT_FOUND: 404, Code.INVALID_ARGUMENT: 400, Code.OUT_OF_RANGE: 400, Code.DOCUMENT_INVALID: 400}

Notice = tuple[str, str]  # tone, text
T = TypeVar("T")
# A page, or what a script of ours reads in its place.
P = TypeVar("P", str, Response)


class FormError(Exception):
    """A field of a form is not what it should be; the text is for the person."""


class Orders:
    """Carries out what a form asks for.

    Args:
        tokens: tells our own forms from others.
        words: the language of the request under way.
    """

    def __init__(self, tokens: FormTokens, words: Callable[[], Words]) -> None:
        self._tokens = tokens
        self._words = words

    def carry_out(
        self, role: Role, page: Callable[[Notice], P], act: Callable[[], AnyResponse]
    ) -> tuple[P, int] | AnyResponse:
        """Do ``act`` and return its answer, or ``page`` with the reason why not.

        Args:
            role: who may.
            page: renders the page that the form stands on, with a notice.
            act: asks the agent; raises FormError or AgentError.
        """
        words = self._words()
        if not self._tokens.fits():
            return page(("bad", words("order.stale_form"))), 403
        if not person().may(role):
            return page(("bad", words("order.not_allowed", role=words(f"role.{role}")))), 403
        try:
            return act()
        except FormError as exc:
            return page(("bad", str(exc))), 400
        except AgentError as exc:
            return page(("bad", said(exc, words))), 503 if exc.code in _UNANSWERED else _STATUS.get(exc.code, 409)

    def browser(self) -> str:
        """Return what tells the browser of the request under way from others."""
        return self._tokens.browser()

    def reason(self) -> str:
        """Return the form's reason on one line.

        Raises:
            FormError: there is none, or it is too long.
        """
        reason = " ".join(request.form.get("reason", "").split())
        if not 0 < len(reason) <= LONGEST_REASON:
            raise FormError(self._words()("order.no_reason", limit=LONGEST_REASON))
        return reason

    def outcome(self) -> Notice | None:
        """Return what ``?done=KEY`` says was done; only texts of our own are ever told."""
        key = f"done.{request.args.get('done', '')}"
        words = self._words()
        return ("good", words(key)) if key in words.texts else None


def said(error: AgentError, words: Words) -> str:
    """Return why an order was not carried out."""
    return words("order.unanswered") if error.code in _UNANSWERED else words("order.failed", message=str(error))


def ask(question: Callable[[], T], nothing: T, words: Words) -> tuple[T, str]:
    """Return the agent's answer, or ``nothing`` and why there is none.

    An older agent does not know every question: a page says so and shows the rest.
    """
    try:
        return question(), ""
    except AgentError as exc:
        if exc.code is Code.FAILED_PRECONDITION:
            return nothing, words("trouble.unserved")
        return nothing, words("trouble.away" if exc.code in _UNANSWERED else "trouble.other", message=str(exc))
