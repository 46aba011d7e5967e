"""The command: writes every generated file and section, or says which are stale."""

import argparse
import sys
from pathlib import Path

from doclib import errors, metrics, plc, schemas, settings, stack, states, troubleshoot
from doclib.markdown import replace_section


def main(root: Path, arguments: list[str] | None = None) -> int:
    """Write, or with ``--check`` compare; return 1 when something is stale."""
    parser = argparse.ArgumentParser(description="Generate documentation from code.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if something is stale")
    check = parser.parse_args(arguments).check
    stale = {path: content for path, content in documents(root).items() if _read(path) != content}
    for path, content in stale.items():
        name = path.relative_to(root)
        if check:
            print(f"stale: {name}: run scripts/generate-docs", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            print(f"written: {name}")
    return 1 if check and stale else 0


def documents(root: Path) -> dict[Path, str]:
    """Return what each file should hold."""
    docs = root / "docs"
    template = root / "cloud_tools" / "provision" / "template.yaml"
    return {
        root / "README.md": _readme(root),
        template: stack.template(_read(template)),
        docs / "settings.md": settings.document(),
        docs / "metrics.md": metrics.document(),
        docs / "plc.md": plc.document(),
        docs / "troubleshoot.md": troubleshoot.document(),
        **{docs / "schemas" / name: content for name, content in schemas.documents().items()},
    }


def _readme(root: Path) -> str:
    text = _read(root / "README.md")
    sections = {
        "state diagram": states.diagram(),
        "state table": states.rows(),
        "error classes": errors.classes(),
        "error codes": errors.codes(root),
    }
    for name, content in sections.items():
        text = replace_section(text, name, content)
    return text


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
