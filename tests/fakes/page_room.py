"""The page asked without a socket, with somebody of a role or with whoever sits at the machine."""

import re
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from edge_agent.config import Dashboard, Settings
from edge_agent.dashboard import create_app, users
from edge_agent.dashboard.hub import Hub
from tests.fakes.cheap_users import PASSWORD, users_file
from tests.fakes.page_agent import PageAgent


class PageRoom:
    def __init__(self, **dashboard: Any) -> None:
        self.agent = PageAgent()
        self.hub = Hub(time.time)
        settings = Settings(dashboard=Dashboard(**dashboard))
        self.app = create_app(self.agent, settings, hub=self.hub, viewers=2)
        self.browser: FlaskClient = self.app.test_client()

    def look(self) -> None:
        self.hub.put_status(self.agent.status(), self.hub.mark())
        self.hub.put(history=tuple(self.agent.history))

    def token(self, path: str = "/models/unet/threshold") -> str:
        page = self.browser.get(path, follow_redirects=True, headers={"Accept": "text/html"}).text
        found = re.search(r'name="token" value="([0-9a-f]{64})"', page)
        assert found, page
        return found[1]

    def order(self, path: str, *, form_on: str = "/try", **form: Any) -> TestResponse:
        """Post one of our own forms."""
        return self.browser.post(path, data={"token": self.token(form_on), **form})

    def log_in(self, name: str, password: str = PASSWORD, **form: Any) -> TestResponse:
        return self.order("/login", form_on="/login", name=name, password=password, **form)


def guarded(tmp_path: Path, **dashboard: Any) -> PageRoom:
    """A page that others can ask, with vera who looks, otto who operates, and ada who may do all."""
    room = {"users": users_file(tmp_path / "users.json"), "transport": "plain", "listen": "0.0.0.0:8080"}
    with patch.object(users, "_N", 2):  # the hash of nobody, against which unknown names are checked
        return PageRoom(**room | dashboard)
