"""The directions between rooms hold, and the contracts that say so are not empty words."""

import subprocess
import sys
from pathlib import Path

from tests.fakes.tree import ROOT


def lint_imports(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    command = [str(program), "--no-cache", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_every_import_contract_is_kept() -> None:
    ran = lint_imports()
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
    assert "0 broken" in ran.stdout


def test_an_agent_imports_no_library_that_only_models_a_cloud_or_a_repository_need() -> None:
    heavy = ("awscrt", "awsiot", "boto3", "cv2", "onnxruntime", "openvino", "tensorrt", "tuf")
    code = f"import sys, edge_agent.agent, edge_agent.cli.app; print(*[m for m in {heavy!r} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == []


def test_a_contract_that_is_broken_is_noticed(tmp_path: Path) -> None:
    contract = tmp_path / "contracts.toml"
    contract.write_text(
        "[tool.importlinter]\n"
        'root_packages = ["edge_agent"]\n'
        "[[tool.importlinter.contracts]]\n"
        'name = "Formats know no errors, which is not so"\n'
        'type = "forbidden"\n'
        'source_modules = ["edge_agent.formats"]\n'
        'forbidden_modules = ["edge_agent.errors"]\n'
    )
    ran = lint_imports("--config", contract)
    assert ran.returncode != 0
    assert "Formats know no errors, which is not so BROKEN" in ran.stdout
