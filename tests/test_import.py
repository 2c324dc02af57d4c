"""What an import brings along, and that the floors of the package stand on each other."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_edu

PACKAGE = Path(tinygrad_edu.__file__).parent

FLOORS = {
    "trees": 0,
    "files": 0,
    "style": 0,
    "rules": 0,
    "calculus": 0,
    "tape": 1,
    "walk": 1,
    "book": 1,
    "recording": 2,
    "tensor": 2,
    "tracing": 2,
    "expressions": 2,
    "target": 1,
    "transforms": 3,
    "gradcheck": 3,
    "testing": 4,
    "compiler": 3,
    "state": 4,
    "nn": 4,
    "optim": 4,
    "data": 4,
    "batches": 4,
    "hooks": 5,
    "trainer": 5,
    "checkpoint": 5,
    "parallel": 5,
    "callbacks": 5,
    "plot": 5,
    "show": 5,
    "interop": 5,
    "sklearn": 5,
    "demo": 6,
    "tables": 6,
    "__main__": 6,
}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def module_of(path):
    """The module on the ground plan: `calculus` for all within it."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def targets(node):
    """The modules of this package that an import statement reads; "" is the package itself."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written out in full"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return set()
    inside = [name.split(".") for name in names if name.split(".")[0] == "tinygrad_edu"]
    return {parts[1] if len(parts) > 1 and parts[1] in FLOORS else "" for parts in inside}


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def at_import(tree):
    """The nodes that run when the module is imported."""
    for node in tree:
        if is_for_types_only(node) or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield node
        yield from at_import(ast.iter_child_nodes(node))


def third_party(statements):
    """The top-level modules with a file that the statements load, outside the standard library."""
    program = (
        f"import sys\n{statements}\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if getattr(module, '__file__', None): print(name.partition('.')[0])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split()) - sys.stdlib_module_names - {"__main__"}


def test_an_import_loads_numpy_and_nothing_else():
    already = third_party("")
    assert third_party("import tinygrad_edu") - already == {"numpy", "tinygrad_edu"}
    # The measuring itself sees a third-party module where there is one.
    assert "tqdm" in third_party("import tinygrad_edu, tqdm") - already


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    own = module_of(path)
    assert own in FLOORS, f"{own} has no floor yet"
    tree = ast.parse(path.read_text())
    for_types = {n for node in ast.walk(tree) if is_for_types_only(node) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_types:
            continue
        for target in targets(node):
            where = f"{path.name}:{node.lineno} imports {target or 'the whole package'}"
            # The package's own `__init__` reads everything, so it is the roof.
            assert FLOORS.get(target, 6) <= FLOORS[own], where


def test_no_two_modules_import_each_other():
    reads = {}
    for path in FILES:
        own = module_of(path)
        found = {t for node in at_import(ast.parse(path.read_text()).body) for t in targets(node)}
        reads.setdefault(own, set()).update(found - {own, ""})
    assert reads["trainer"] >= {"nn", "optim", "tensor"}
    while reads:
        free = {name for name, below in reads.items() if not below & reads.keys()}
        assert free, f"a circle of imports among {sorted(reads)}"
        reads = {name: below for name, below in reads.items() if name not in free}
