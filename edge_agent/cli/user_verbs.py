"""The page's users: who may look, who may operate, who may set thresholds."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from edge_agent.cli.context import places
from edge_agent.cli.output import AsJson, note, show_json, show_lines, show_table
from edge_agent.errors import Code, ConfigError, InferenceError

Name = Annotated[str, typer.Argument(help="Letters, digits and . _ @ -, 64 at most.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(help="Who may use the page.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("list")(show)
    app.add_typer(group, name="users")


def add(
    context: typer.Context,
    name: Name,
    role: Annotated[Literal["viewer", "operator", "admin"], typer.Option(help="What this person may do.")] = "viewer",
    as_json: AsJson = False,
) -> None:
    """Add a user, or give one another password and role; the password is asked for, or is the first line of stdin."""
    from edge_agent.dashboard import users  # noqa: PLC0415 - only these verbs pay for it

    password = _password()
    if not users.SHORTEST_PASSWORD <= len(password) <= users.LONGEST_PASSWORD:
        raise InferenceError(
            Code.INVALID_ARGUMENT,
            f"expected a password of {users.SHORTEST_PASSWORD} to {users.LONGEST_PASSWORD} characters, "
            f"came {len(password)}",
        )
    path = _file(context)
    replaced = users.put_user(path, users.make_user(name, role, password))
    if as_json:
        show_json({"ok": True, "name": name, "role": role, "replaced": replaced})
    else:
        show_lines([f"{name}: {role}{', changed' if replaced else ''}"])


def remove(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Take a user away; who is logged in under that name no longer is."""
    from edge_agent.dashboard import users  # noqa: PLC0415 - only these verbs pay for it

    users.remove_user(_file(context), name)
    show_json({"ok": True, "name": name}) if as_json else show_lines([f"{name}: removed"])


def show(context: typer.Context, as_json: AsJson = False) -> None:
    """List users and roles."""
    from edge_agent.dashboard import users  # noqa: PLC0415 - only these verbs pay for it

    path = _file(context)
    known = users.read_users(path).users if path.exists() else ()
    if as_json:
        show_json([{"name": user.name, "role": user.role} for user in known])
    else:
        show_table(("NAME", "ROLE"), ((user.name, user.role) for user in known), empty="no users")


def _file(context: typer.Context) -> Path:
    path = places(context).settings().dashboard.users
    if path is None:
        raise ConfigError(Code.CONFIG_INVALID, "dashboard.users: expected the path of the file of users, there is none")
    return path


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = str(typer.prompt("Password", hide_input=True))
    if password != typer.prompt("Again", hide_input=True):
        note("the two differ")
        raise typer.Exit(2)
    return password
