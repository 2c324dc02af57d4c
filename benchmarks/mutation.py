"""Whether the tests notice a wrong derivative.

One rule is made wrong in one place (a sign, a factor, an axis, a comparison, a sum left out), and
the tests that guard the rules are run on a copy of the package with that mistake. If a test fails,
the mutant is killed; if all pass, it survives, and either it computes the same as the rule that it
was made from, for which EXPLANATIONS gives the reason, or a test is missing.

Changed are the rules in `tinygrad_edu/calculus`, the functions that they call, and what undoes
broadcasting. Checked by the tests of the tree that this file is in.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.timing import table

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("tinygrad_edu", "tests", "benchmarks")
# The quick ones first.
GUARDS = (
    *("test_hand_derived.py", "test_tensor.py", "test_traps.py", "test_hard_points.py"),
    *("test_assignment.py", "test_linalg.py", "test_shapes_and_sorting.py", "test_rules.py"),
)
# What undoes broadcasting, by file: rules of no operation in particular.
BROADCASTING = {
    "tinygrad_edu/rules.py": ("derivative", "unbroadcast"),
    "tinygrad_edu/walk.py": ("_fitted",),
}
# The variable in which the tests are told which of them to begin with.
OPERATIONS = "MUTATED_OPERATIONS"

FACTORS = (2, 0.5, 1.001)
SLIGHTLY = 1.00001
SWAPPED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.MatMult, ast.Pow)
# The neighbour, then the opposite; the last one is also what negates the condition.
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Gt: (ast.GtE, ast.Lt, ast.LtE),
    ast.GtE: (ast.Gt, ast.LtE, ast.Lt),
    ast.Lt: (ast.LtE, ast.Gt, ast.GtE),
    ast.LtE: (ast.Lt, ast.GtE, ast.Gt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
RENAMED = {
    name: other
    for pair in (("max", "min"), ("any", "all"), ("maximum", "minimum"), ("zeros", "ones"))
    for name, other in (pair, pair[::-1])
}
# Calls that can be left out: what they are given has the type of what they return.
LEAVABLE = {
    *("sum", "expand_dims", "broadcast_to", "reshape", "transpose", "squeeze", "spread"),
    *("argsort", "sign", "log", "exp", "asarray", "asfortranarray", "astype", "copy"),
    *("_swap", "_rows", "_floating", "_classes_apart", "_as_columns"),
}
FACTS = ("shape", "ndim", "size", "dtype")
# Parameters of rules that are not arrays of numbers, so that no other input can take their place.
NOT_ARRAYS = {
    *("axis", "axes", "keepdims", "dtype", "out", "shape", "index", "position", "primitive"),
    *("condition", "labels", "at_zero", "slope"),
}

LAYOUT = "equal: only the order of the numbers in memory differs"
# Why a survivor computes the same: by file, what was changed (with enough around it to be found
# only once in the expression or statement), and what it became.
EXPLANATIONS = {
    ("elementwise.py", "b - 1 if np.all(b != 0)", "b - 1 if False"): (
        "equal: where no exponent is 0, what is added is 0; a number as the exponent is faster"
    ),
    ("elementwise.py", "np.all(b != 0)", "np.all(a != 0)"): (
        "equal: where a is not 0, what is added is 0"
    ),
    (
        "indexing.py",
        "any((isinstance(part, np.ndarray) and part.dtype != bool for part in parts))",
        "True",
    ): "equal: np.add.at takes every index; assignment is faster",
    ("linalg.py", "_dot_db, core_axes=2", "_dot_db, core_axes=3"): (
        "equal for np.dot: only the gradient of a matrix b arrives with more axes than it has"
    ),
    ("linalg.py", "x.T if x.ndim == 2", "x.T if False"): (
        "equal: np.transpose swaps the axes of a matrix too; .T is faster"
    ),
    ("linalg.py", "b.ndim <= 2", "b.ndim < 2"): (
        "equal: for a matrix b the rows and columns of np.dot are those of matmul"
    ),
    ("linalg.py", "_matmul_da(g, y, a, b)", "_matmul_da(g, a, a, b)"): "equal: y is not read",
    ("linalg.py", "_matmul_db(g, y, a, b)", "_matmul_db(g, a, a, b)"): "equal: y is not read",
    ("linalg.py", "_matmul_da(g, y, a, b)", "_matmul_da(g, y, b, b)"): (
        "equal: of a only the number of axes is read, and for a matrix b both ways give the same"
    ),
    ("neural.py", "x if x.ndim == 2", "x if False"): (
        "equal: a matrix is reshaped to its own shape; without is faster"
    ),
    ("neural.py", "W.T.copy()", "W.T"): "equal: a copy is laid out better for BLAS",
    ("neural.py", "x > 0 if at_zero == 0", "x > 0 if False"): (
        "equal: the Heaviside function that is 0 at 0 is x > 0, which is faster"
    ),
    ("neural.py", "x > 0 if at_zero == 0", "y > 0 if at_zero == 0"): (
        "equal: max(x, 0) is positive where x is"
    ),
    ("neural.py", "softmax(x, axis=axis) * np.sum(g", "softmax(y, axis=axis) * np.sum(g"): (
        "equal: y is x less a number for each row, which softmax does not see"
    ),
    ("neural.py", "np.size(logits)", "np.size(targets)"): "equal: both have the same shape",
    ("neural.py", "np.size(prediction)", "np.size(target)"): "equal: both have the same shape",
    ("neural.py", "np.divide(1, y, out=y) if y.ndim", "np.divide(1, y, out=y) if False"): (
        "equal: 1 / y in a new array; in place it is faster"
    ),
    ("neural.py", "axis is not None and x.ndim", "axis is not None and y.ndim"): (
        "equal: a y without axes has a g without axes, which broadcasts without another"
    ),
    ("neural.py", "type(logits) is np.ndarray and classes < n", "False"): LAYOUT,
    ("neural.py", "classes < n", "classes <= n"): LAYOUT,
    ("neural.py", "classes < n", "classes > n"): LAYOUT,
    ("neural.py", "classes < n", "classes >= n"): LAYOUT,
    ("neural.py", "np.asfortranarray(logits)", "logits"): LAYOUT,
    ("neural.py", "_classes_apart(logits)", "logits"): LAYOUT,
    ("reductions.py", "dtype=x.dtype", "dtype=y.dtype"): "equal: an extreme has the dtype of x",
    ("shapes.py", "axis=None: g.reshape", "axis=0: g.reshape"): "equal: the axis is not read",
    ("shapes.py", "a % x.ndim", "a % y.ndim"): "equal: a transpose has as many axes",
    ("walk.py", "gx if gx.dtype == x.dtype", "gx if False"): "equal: a copy more",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one rule.

    Attributes:
        file: the path of the changed file, from the root of the tree.
        line: where the change is.
        operator: what kind of change it is.
        before: the changed expression or statement, as `ast.unparse` writes it.
        after: what takes its place.
        operations: the operations that use it, none if all might.
        span: the bytes of the file that are replaced.
    """

    file: str
    line: int
    operator: str
    before: str
    after: str
    operations: tuple[str, ...]
    span: tuple[int, int]

    @property
    def explanation(self) -> str | None:
        """Why it computes the same as before, if it is known to."""
        for (file, old, new), reason in EXPLANATIONS.items():
            if self.file.endswith(file) and self.before.replace(old, new) == self.after:
                return reason
        return None

    def applied(self, source: bytes) -> bytes:
        """The source of the file with the change in it."""
        start, end = self.span
        changed = source[:start] + self.after.encode() + source[end:]
        compile(changed, self.file, "exec")
        return changed


@dataclass(frozen=True)
class Outcome:
    """What the tests said about a mutant.

    Attributes:
        killed: whether one of them failed.
        by: which of them, or that the time was up.
        seconds: how long they took.
    """

    killed: bool
    by: str
    seconds: float


@dataclass(frozen=True)
class Scope:
    """The names that a rule gives to its output and inputs, and to the gradient."""

    gradient: str | None
    output: str | None
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, arguments: ast.arguments) -> Scope:
        names = [a.arg for a in arguments.args]
        gradient = "g" if "g" in names else None
        output = "y" if "y" in names else None
        if gradient is None and "gx" not in names:
            return cls(None, None, ())
        inputs = (n for n in names if n not in (gradient, output) and n not in NOT_ARRAYS)
        return cls(gradient, output, tuple(inputs))

    def instead_of(self, name: str) -> str | None:
        """Another array of the rule: for an input the next one, for the output the first."""
        if name == self.output and self.inputs:
            return self.inputs[0]
        if name not in self.inputs:
            return None
        others = self.inputs if len(self.inputs) > 1 else (name, self.output)
        return others[(others.index(name) + 1) % len(others)]


Change = tuple[str, ast.AST]


def changes(node: ast.AST, scope: Scope) -> Iterator[Change]:
    """Every change of one place in the tree, with the name of the operator, as a tree."""
    yield from _changes_here(node, scope)
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return
    if isinstance(node, ast.Attribute) and node.attr in FACTS:
        # Ones like g have its shape and dtype.
        scope = Scope(None, scope.output, scope.inputs)
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            for operator, changed in changes(value, scope):
                yield operator, _with(node, field, changed)
        elif isinstance(value, list):
            for i, part in enumerate(value):
                if isinstance(part, ast.AST):
                    for operator, changed in changes(part, scope):
                        yield operator, _with(node, field, [*value[:i], changed, *value[i + 1 :]])


def _changes_here(node: ast.AST, scope: Scope) -> Iterator[Change]:
    match node:
        case ast.Lambda(body=value):
            yield from ((what, _with(node, "body", new)) for what, new in _scaled(value))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Tuple):
            yield from ((what, _with(node, "value", new)) for what, new in _scaled(value))
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in SWAPPED:
                yield "operator", _with(node, "op", SWAPPED[type(op)]())
            if isinstance(op, ORDERED):
                yield "order of operands", ast.BinOp(right, op, left)
            if isinstance(op, ast.Mod):
                yield "call left out", left
        case ast.AugAssign(op=op) if type(op) in SWAPPED:
            yield "operator", _with(node, "op", SWAPPED[type(op)]())
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(n))):
            yield "constant", _number(1 - n)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", operand
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(n) | float(n)):
            yield "constant", ast.Constant(n + 1)
        case ast.Compare(ops=[op]):
            for other in COMPARISONS[type(op)]:
                yield "comparison", _with(node, "ops", [other()])
        case ast.BoolOp(op=op):
            yield "condition", _with(node, "op", ast.And() if isinstance(op, ast.Or) else ast.Or())
        case ast.IfExp(test=test):
            yield from ((what, _with(node, "test", new)) for what, new in _decided(test))
        case ast.comprehension(ifs=[test]):
            yield from ((what, _with(node, "ifs", [new])) for what, new in _decided(test))
        case ast.Name(id=name, ctx=ast.Load()):
            if name == scope.gradient:
                yield "ones for g", _call_of_numpy("ones_like", node)
            if (array := scope.instead_of(name)) is not None:
                yield "another array", ast.Name(array, ast.Load())
            if name in RENAMED:
                yield "another function", ast.Name(RENAMED[name], ast.Load())
        case ast.Attribute(value=value, attr="T"):
            yield "call left out", value
        case ast.Attribute(attr=name) if name in RENAMED:
            yield "another function", _with(node, "attr", RENAMED[name])
        case ast.Subscript(slice=ast.Tuple(elts=parts)) if len(parts) > 1:
            yield "axes of an index", _with(node, "slice", ast.Tuple(parts[::-1], ast.Load()))
        case ast.keyword(arg="axis", value=ast.Name()):
            yield "axis", _with(node, "value", ast.Constant(0))
        case ast.Call():
            yield from _changed_call(node)
        case ast.arguments(args=names, defaults=defaults):
            for i, parameter in enumerate(names[len(names) - len(defaults) :]):
                if parameter.arg == "axis" and ast.unparse(defaults[i]) == "None":
                    first = [*defaults[:i], ast.Constant(0), *defaults[i + 1 :]]
                    yield "axis", _with(node, "defaults", first)
        case ast.AnnAssign(target=ast.Name("axis"), value=ast.Constant(None)):
            yield "axis", _with(node, "value", ast.Constant(0))


def _changed_call(node: ast.Call) -> Iterator[Change]:
    match node:
        case ast.Call(func=ast.Attribute(ast.Name("np"), name), args=[first, *_]):
            pass
        case ast.Call(func=ast.Attribute(first, name)):
            pass
        case ast.Call(func=ast.Name(name), args=[first, *_]) if name != "sum":
            pass
        case _:
            return
    if name in LEAVABLE:
        yield "call left out", first
    if name == "sum":
        kept = [keyword for keyword in node.keywords if keyword.arg != "dtype"]
        for other in ("mean", "max"):
            changed = _with(node, "func", _with(node.func, "attr", other))
            yield "another function", _with(changed, "keywords", kept)
    if name == "where":
        condition, a, b = node.args
        yield "order of operands", _with(node, "args", [condition, b, a])


def _scaled(value: ast.expr) -> Iterator[Change]:
    """The value of a rule with another sign, or multiplied by a number close to 1 or not."""
    if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.USub):
        yield "sign", value.operand
    else:
        yield "sign", ast.UnaryOp(ast.USub(), value)
    # A test that notices the small one notices the others, of which one in turn is enough.
    for factor in (FACTORS[value.lineno % len(FACTORS)], SLIGHTLY):
        yield "factor", ast.BinOp(value, ast.Mult(), ast.Constant(factor))


def _decided(test: ast.expr) -> Iterator[Change]:
    """A condition that always holds, never holds, or is negated."""
    yield from (("condition", ast.Constant(value)) for value in (True, False))
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "condition", operand
        case ast.Compare(ops=[op]):
            yield "condition", _with(test, "ops", [COMPARISONS[type(op)][-1]()])
        case _:
            yield "condition", ast.UnaryOp(ast.Not(), test)


def _with(node: Any, field: str, value: Any) -> Any:
    changed = copy.copy(node)
    setattr(changed, field, value)
    return changed


def _number(n: int) -> ast.expr:
    return ast.Constant(n) if n >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-n))


def _call_of_numpy(name: str, argument: ast.expr) -> ast.Call:
    function = ast.Attribute(ast.Name("np", ast.Load()), name, ast.Load())
    return ast.Call(function, [argument], [])


def mutants(file: str, source: bytes) -> Iterator[Mutant]:
    """Every change of the rules of a file, and of the functions of it that they call."""
    tree = ast.parse(source)
    functions = {s.name: s for s in tree.body if isinstance(s, ast.FunctionDef)}
    users: dict[str, list[str]] = {name: [] for name in BROADCASTING.get(file, ())}
    found: list[tuple[Any, list[Change], Sequence[str]]] = []
    for operation, call, first in _tables(tree):
        rules = call.args[first:]
        found.append((call, list(_changed_table(call, first)), [operation]))
        for rule in (*rules, *(k.value for k in call.keywords if k.arg == "every")):
            if isinstance(rule, ast.Lambda):
                found.append((rule, list(changes(rule, Scope.of(rule.args))), [operation]))
            for name in _reached(rule, functions):
                users.setdefault(name, []).append(operation)
    for name, operations in users.items():
        scope = Scope.of(functions[name].args)
        for node, decided in _places(functions[name]):
            found.append((node, [*changes(node, scope), *decided], operations))

    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen = set()
    for node, changed, users_of_it in found:
        before = ast.unparse(node)
        begin = starts[node.lineno - 1] + node.col_offset
        span = begin, starts[node.end_lineno - 1] + node.end_col_offset
        for operator, new in changed:
            after = ast.unparse(new)
            if after != before and (span, after) not in seen:
                seen.add((span, after))
                yield Mutant(file, node.lineno, operator, before, after, (*users_of_it,), span)


def _tables(tree: ast.Module) -> Iterator[tuple[str, ast.Call, int]]:
    """The calls that give an operation its rules: its name, the call, the first rule's place."""
    for statement in tree.body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name("derivative"), args=[f, *_]) as call):
                yield ast.unparse(f).removeprefix("np."), call, 1
            case ast.Expr(value=ast.Call(func=ast.Attribute(f, "derivative")) as call):
                yield ast.unparse(f), call, 0


def _changed_table(call: ast.Call, first: int) -> Iterator[Change]:
    """Two of the rules of an operation swapped, or other axes that broadcast."""
    for i in range(first, len(call.args) - 1):
        a, b = call.args[i : i + 2]
        yield "order of rules", _with(call, "args", [*call.args[:i], b, a, *call.args[i + 2 :]])
    for i, keyword in enumerate(call.keywords):
        match keyword:
            case ast.keyword(arg="core_axes", value=ast.Constant(value=int(n))):
                for value in (None, n + 1):
                    other = _with(keyword, "value", ast.Constant(value))
                    others = [*call.keywords[:i], other, *call.keywords[i + 1 :]]
                    yield "core axes", _with(call, "keywords", others)


def _reached(rule: ast.AST, functions: dict[str, ast.FunctionDef]) -> list[str]:
    """The functions of the same file that a rule calls, and those that they call."""
    reached: list[str] = []
    pending = [rule]
    while pending:
        for node in ast.walk(pending.pop()):
            if isinstance(node, ast.Name) and node.id in functions and node.id not in reached:
                reached.append(node.id)
                pending.append(functions[node.id])
    return reached


def _places(function: ast.FunctionDef) -> Iterator[tuple[Any, list[Change]]]:
    """The parts of a function that are changed by themselves, and ways to decide a condition."""
    names, defaults = function.args.args, function.args.defaults
    for name, default in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        assigned = ast.AnnAssign(ast.Name(name.arg), name.annotation or ast.Name("Any"), default, 1)
        ast.copy_location(assigned, name)
        assigned.end_lineno, assigned.end_col_offset = default.end_lineno, default.end_col_offset
        yield assigned, []
    pending = [*function.body]
    while pending:
        statement = pending.pop(0)
        match statement:
            case ast.If(test=test, body=body, orelse=orelse):
                yield test, list(_decided(test))
                pending = [*body, *orelse, *pending]
            case ast.With(body=body):
                pending = [*body, *pending]
            case ast.Return() | ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                yield statement, []
            case ast.Expr(value=ast.Call()):
                yield statement, []


def pytest_configure() -> None:
    """As a plugin of pytest, in the runs of the mutants: leaves failing examples as they are."""
    from hypothesis import Phase, settings

    settings.register_profile("mutation", settings(), phases=[Phase.explicit, Phase.generate])
    settings.load_profile("mutation")


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """As a plugin of pytest: begins with the tests that are named after the changed operations."""
    names = os.environ.get(OPERATIONS, "").split()
    items.sort(key=lambda item: not any(name in item.name for name in names))


def guard(tree: Path, operations: Sequence[str], limit: float | None) -> Outcome:
    """Runs the tests that guard the rules on a copy of the tree, up to the first that fails.

    Raises:
        RuntimeError: the tests could not be run.
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "benchmarks.mutation"]
    # Compiled files are told apart by size and second, which two mutants may share.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment[OPERATIONS] = " ".join(operations)
    start = time.perf_counter()
    try:
        run = subprocess.run(
            [*command, *(f"tests/{name}" for name in GUARDS)],
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return Outcome(True, "the time limit", time.perf_counter() - start)
    # 1 is a test that failed, 2 an import that did.
    if run.returncode in (3, 4, 5):
        raise RuntimeError(f"pytest could not run the tests:\n{run.stdout[-3000:]}")
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", run.stdout, re.MULTILINE)
    by = failed[1] if failed else f"exit status {run.returncode}" if run.returncode else ""
    return Outcome(run.returncode != 0, by, time.perf_counter() - start)


def run(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The table, the survivors with their explanations, and the outcome of every mutant."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, str(i)) for i in range(options.jobs)]
        _copy(ROOT, trees[0])
        for tree in trees[1:]:
            _copy(trees[0], tree)
        chosen = _chosen(trees[0], options.only, options.limit, options.seed)
        limit = 10 * _unchanged(trees[0])
        free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for tree in trees:
            free.put(tree)

        def judge(mutant: Mutant) -> Outcome:
            tree = free.get()
            path = tree / mutant.file
            source = path.read_bytes()
            try:
                path.write_bytes(mutant.applied(source))
                return guard(tree, mutant.operations, limit)
            finally:
                path.write_bytes(source)
                free.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            judged = tqdm(pool.map(judge, chosen), total=len(chosen), unit="mutant", disable=None)
            outcomes = list(zip(chosen, judged, strict=True))
    seconds = time.perf_counter() - start
    raw = [{**asdict(m), **asdict(o), "explanation": m.explanation} for m, o in outcomes]
    return _report(outcomes, seconds), {"seconds": seconds, "mutants": raw}


def _copy(source: Path, target: Path) -> None:
    compiled = shutil.ignore_patterns("__pycache__")
    for name in COPIED:
        shutil.copytree(source / name, target / name, ignore=compiled)
    # The settings of pytest.
    shutil.copy(source / "pyproject.toml", target)


def _chosen(tree: Path, only: str | None, limit: int, seed: int) -> list[Mutant]:
    """The mutants to judge: all, or a sample of them, in the order of the files."""
    tables = sorted(tree.glob("tinygrad_edu/calculus/*.py"))
    files = [*(table.relative_to(tree).as_posix() for table in tables), *BROADCASTING]
    found = [
        mutant
        for file in files
        if only is None or file.endswith(only)
        for mutant in mutants(file, (tree / file).read_bytes())
    ]
    if not found:
        raise SystemExit(f"--only {only}: no file of this name has a rule")
    chosen = random.Random(seed).sample(range(len(found)), min(limit, len(found)))
    return [found[i] for i in sorted(chosen)]


def _unchanged(tree: Path) -> float:
    """The seconds that the tests take on the rules as they are."""
    where = "import tinygrad_edu; print(tinygrad_edu.__file__)"
    imported = subprocess.check_output([sys.executable, "-c", where], cwd=tree, text=True)
    if not Path(imported.strip()).is_relative_to(tree):
        raise SystemExit(f"the tests would import {imported.strip()}, not the changed copy")
    outcome = guard(tree, (), None)
    if outcome.killed:
        raise SystemExit(f"{outcome.by} fails on the rules as they are")
    return outcome.seconds


def _report(outcomes: Sequence[tuple[Mutant, Outcome]], seconds: float) -> str:
    survivors = [m for m, o in outcomes if not o.killed]
    rows = []
    for file in (*dict.fromkeys(m.file for m, _ in outcomes), "all"):
        killed = [o.killed for m, o in outcomes if file in (m.file, "all")]
        explained = sum(m.explanation is not None for m in survivors if file in (m.file, "all"))
        counted = len(killed) - explained
        score = f"{sum(killed) / counted:.1%}" if counted else "-"
        figures = len(killed), sum(killed), len(killed) - sum(killed), explained
        rows.append([file, *map(str, figures), score])
    columns = ["", "mutants", "killed", "survived", "of these explained", "score"]
    late = sum(o.by == "the time limit" for _, o in outcomes)
    parts = [
        table(columns, rows),
        f"The score is the share that was killed of those that have no explanation; {late} were "
        f"killed by the time limit. It took {seconds / 60:.1f} minutes.",
    ]
    for m in survivors:
        reason = m.explanation or "unexplained"
        parts.append(f"{m.file}:{m.line}  {m.operator}\n- {m.before}\n+ {m.after}\n  {reason}")
    return "\n\n".join(parts)
