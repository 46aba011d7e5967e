"""The door to Jinja: pages from templates, each one file that asks nothing of any network.

What data sets' folders and files are called is escaped, and the pages' own policy lets only
their own script run.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, script: str, folder: Path = _TEMPLATES, /, **values: Any) -> str:
    """Return a page.

    Args:
        template: its file's name.
        script: the file of the page's script; empty: it has none.
        folder: where both lie; what they share with other pages lies here.
        values: what the template asks for.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = (folder / script).read_text(encoding="utf-8") if script else ""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        **values, style=style, script=code, script_digest=f"'sha256-{digest}'" if code else "'none'"
    )
