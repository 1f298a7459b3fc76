"""What the documents point to exists: files, headings, option files, tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "datasets/README.md", "benchmarks/RESULTS.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"```.*?```", re.DOTALL)


def _anchors(path: Path) -> set[str]:
    """The names that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_option_files_exist(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target
    for name in re.findall(r"\boptions/(?!toy/)[\w/]+\.yml", text):
        assert (ROOT / name).is_file(), name


def test_the_tests_that_the_table_of_faults_names_exist():
    default = ROOT / "tests/model/bridge"
    for line in (ROOT / "docs/reliability.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| fault | here |"):
            default = ROOT / "tests/arch"
        elif line.startswith("## Behaviour"):
            default = ROOT / "tests/model/bridge"
        file = default
        for name, function in re.findall(r"`([\w./]*\.py)?(?:::(\w+))?`", line):
            file = (default / name).resolve() if name else file
            if name or function:
                assert file.is_file(), (name, line)
                assert not function or function in _functions(file), (file.name, function)


def _functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", ["docs/methods.md"])
def test_python_in_the_documents_runs(name):
    lines = "".join(re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(lines.replace("scale=4", "scale=4, num_group=1, num_block=1"), name, "exec"), names)
    assert tuple(names["sr"].shape) == (1, 3, 180, 320)  # type: ignore[attr-defined]
