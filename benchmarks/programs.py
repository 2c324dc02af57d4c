"""Random straight-line programs, as data.

A program is a few inputs and up to some dozens of steps, each of which reads values by name and
makes another, or changes one in place. It is written out as NumPy source that can be pasted and
run, and as source for PyTorch. What an operation looks like in both is one line of `operations.py`.
Values are kept small: what a step makes is scaled down if it is larger than LARGE.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np

import tinygrad_edu as tg
from benchmarks.operations import MOST_VALUES, OPERATIONS, TRIES, Operation, literal, target

LARGE, SMALL = 4.0, 1e-3


@dataclass(frozen=True)
class Step:
    """An operation that has been applied: the text of both, with places for the names.

    Attributes:
        operation: which one it is.
        out: the name of what it makes, or of what it changes in place.
        reads: the names of what it reads.
        numpy, torch: the texts, in which the parameters have been filled in.
    """

    operation: Operation
    out: str
    reads: tuple[str, ...]
    numpy: str
    torch: str | None

    def line(self, text: str) -> str:
        """One of the texts with the names filled in."""
        filled = text.format(*self.reads, out=self.out)
        return filled if self.operation.in_place or "{out}" in text else f"{self.out} = {filled}"


@dataclass(frozen=True)
class Program:
    """Inputs, steps, and the values whose weighted sum is the result.

    Attributes:
        inputs: the point, by name.
        steps: in the order in which they run.
        outputs: the names of what is added up, each entry with a weight of its own, with shapes.
    """

    inputs: dict[str, np.ndarray]
    steps: tuple[Step, ...]
    outputs: tuple[tuple[str, tuple[int, ...]], ...]

    def numpy_source(self) -> str:
        """The program as a function of its inputs, and the point; `np` and `tg` are imported."""
        point = "\n".join(f"{name} = {literal(value)}" for name, value in self.inputs.items())
        return f"{self._function('numpy')}\n\n{point}\n"

    def torch_source(self) -> str | None:
        """The same function for PyTorch; `None` if a step has no such thing."""
        return None if any(s.torch is None for s in self.steps) else self._function("torch")

    def report(self) -> str:
        """The program as a file that prints NumPy's value, the engine's, and the gradients."""
        copies = ", ".join(f"{name}.copy()" for name in self.inputs)
        calls = f"tg.value_and_grad(f, {tuple(range(len(self.inputs)))})({copies})"
        parts = [
            "import numpy as np\nimport tinygrad_edu as tg\n\n",
            self.numpy_source(),
            f"print(f({copies}), *{calls})",
        ]
        return "\n".join(parts)

    def function(self) -> Callable[..., Any]:
        """The program in NumPy, as a function."""
        space: dict[str, Any] = {"np": np, "tg": tg}
        exec(self._function("numpy"), space)
        return space["f"]

    def torch_function(self) -> Callable[..., Any] | None:
        """The program in PyTorch, as a function."""
        source = self.torch_source()
        if source is None:
            return None
        import torch

        space: dict[str, Any] = {"torch": torch}
        exec(source, space)
        return space["f"]

    def _function(self, kind: str) -> str:
        lines = [step.line(getattr(step, kind)) for step in self.steps]
        terms = [_weighted(name, shape, kind) for name, shape in self.outputs]
        body = "\n".join([*lines, f"return {' + '.join(terms)}"])
        return f"def f({', '.join(self.inputs)}):\n    " + body.replace("\n", "\n    ")

    def size(self) -> tuple[int, ...]:
        """What counts when one program is to be simpler than another."""
        digits = sum(len(literal(value)) for value in self.inputs.values())
        return len(self.steps), len(self.outputs), len(self.inputs), digits

    def values(self) -> dict[str, np.ndarray]:
        """What each step makes, by name, before anything changes it."""
        live: dict[str, Any] = {name: value.copy() for name, value in self.inputs.items()}
        made = {}
        for step in self.steps:
            run_step(step, live)
            if not step.operation.in_place:
                made[step.out] = np.array(live[step.out])
        return made

    def is_sound(self) -> bool:
        """Whether every operation may be applied to what it is applied to, and all is there."""
        live: dict[str, Any] = {name: value.copy() for name, value in self.inputs.items()}
        for step in self.steps:
            if not step.operation.accepts(*(np.asarray(live[name]) for name in step.reads)):
                return False
            run_step(step, live)
        return all(name in live for name, _ in self.outputs)

    def without_dead_steps(self) -> Program:
        """Without what is not read in the end, as far as that can be seen from names alone."""
        wanted = {name for name, _ in self.outputs}
        changed = {step.out for step in self.steps if step.operation.in_place}
        kept: list[Step] = []
        for step in reversed(self.steps):
            # Another name may be a view of what is changed, so that nothing changed is dropped.
            if step.out in wanted or (step.operation.in_place and step.out in changed):
                wanted.update((step.out, *step.reads))
                kept.append(step)
        inputs = {name: value for name, value in self.inputs.items() if name in wanted}
        return replace(self, inputs=inputs, steps=tuple(reversed(kept)))


def _weighted(name: str, shape: tuple[int, ...], kind: str) -> str:
    """A sum in which every entry has a weight of its own, which does not cancel others."""
    n = math.prod(shape)
    if not shape:
        return f"0.54 * {name}"
    lib, double = ("np", "") if kind == "numpy" else ("torch", ", dtype=torch.float64")
    return f"{lib}.sum({lib}.cos({lib}.arange(1.0, {n + 1}.0{double})).reshape{shape} * {name})"


def run_step(step: Step, live: dict[str, Any]) -> None:
    """Runs a step on the values by name, which it adds to or changes."""
    exec(step.line(step.numpy), {"np": np, "tg": tg}, live)


def smaller(program: Program) -> Iterator[Program]:
    """Programs that are simpler in one respect each, the most promising first."""
    made = program.values()
    if len(program.outputs) > 1:
        for output in program.outputs:
            yield replace(program, outputs=(output,)).without_dead_steps()
    (last, *_), *more = program.outputs
    if not more:
        for i, step in enumerate(program.steps):
            if not step.operation.in_place and step.out != last:
                outputs = ((step.out, made[step.out].shape),)
                yield replace(
                    program, steps=program.steps[: i + 1], outputs=outputs
                ).without_dead_steps()
                yield replace(program, outputs=outputs).without_dead_steps()
    for i, step in reversed(list(enumerate(program.steps))):
        rest = replace(program, steps=(*program.steps[:i], *program.steps[i + 1 :]))
        if step.operation.in_place:
            yield rest.without_dead_steps()
            continue
        # In place of what the step makes, an operand of the same shape, or an input of its value.
        for name in step.reads:
            value = made.get(name, program.inputs.get(name))
            if value is not None and value.shape == made[step.out].shape and step.out != last:
                yield _renamed(rest, step.out, name).without_dead_steps()
        if len(program.steps) > 1:
            fresh = {**program.inputs, step.out: made[step.out]}
            yield replace(rest, inputs=fresh).without_dead_steps()
    short = {name: np.asarray(value.round(1)) for name, value in program.inputs.items()}
    if any((short[name] != value).any() for name, value in program.inputs.items()):
        yield replace(program, inputs=short)


def _renamed(program: Program, old: str, new: str) -> Program:
    """The program with another name wherever one was read or changed."""

    def name(n: str) -> str:
        return new if n == old else n

    steps = tuple(
        replace(s, out=name(s.out), reads=tuple(map(name, s.reads))) for s in program.steps
    )
    return replace(program, steps=steps)


def generate(
    rng: np.random.Generator,
    operations: Sequence[Operation] = OPERATIONS,
    length: int | None = None,
) -> Program:
    """A random program of these operations, of 3 to 40 steps unless `length` says how many.

    Every value that is not read by another step is among the outputs.
    """
    length = int(rng.integers(3, 41)) if length is None else length
    # Writing into shared memory is for one program in four, and happens often in those: the others
    # can be compared with PyTorch.
    writing = [operation for operation in operations if operation.in_place]
    operations = [operation for operation in operations if not operation.in_place]
    if writing and rng.integers(4) == 0:
        operations += writing * (len(operations) // max(4 * len(writing), 1))
    inputs = _inputs(rng)
    live: dict[str, Any] = {name: value.copy() for name, value in inputs.items()}
    steps: list[Step] = []
    for _ in range(60 * length):
        if len(steps) >= length:
            break
        operation = operations[int(rng.integers(len(operations)))]
        step = _apply(rng, operation, live, f"v{len(steps)}", tuple(inputs))
        if step is None:
            continue
        steps.append(step)
        size = np.max(np.abs(live[step.out]))
        if size > LARGE:
            c = 2.0 ** math.ceil(math.log2(size))
            text = f"{{0}} / {c}"
            scale = Step(_SCALE, f"v{len(steps)}", (step.out,), text, text)
            run_step(scale, live)
            steps.append(scale)
    return _program(inputs, steps, live)


def generate_one(rng: np.random.Generator, operation: Operation) -> Program | None:
    """A program of this operation alone, after a copy if it needs one; `None` if none was found."""
    for attempt in range(200):
        inputs = _inputs(rng, low=(-2.0, 0.2)[attempt % 2])
        live: dict[str, Any] = {name: value.copy() for name, value in inputs.items()}
        steps: list[Step] = []
        if operation.in_place:
            steps = [Step(_COPY, f"v{name}", (name,), "{0} * 1", "{0} * 1") for name in inputs]
            for step in steps:
                run_step(step, live)
        applied = _apply(rng, operation, live, "v0", tuple(inputs))
        if applied is not None:
            return _program(inputs, [*steps, applied], live)
    return None


def overwriting(program: Program) -> Iterator[Program]:
    """Programs that tell which memory the last step of this one shares, and how it is laid out.

    What the step read is overwritten, and what it made is the output; the other way round; and a
    copy of what it made is written into through another shape, which is a view if the copy lies in
    memory in C order. Numbers are left out: NumPy's have no memory to share.
    """
    *_, last = program.steps
    own = [Step(_COPY, f"own_{name}", (name,), "{0} * 1", "{0} * 1") for name in program.inputs]
    step = replace(last, reads=tuple(f"own_{name}" for name in last.reads))
    live: dict[str, Any] = {name: value.copy() for name, value in program.inputs.items()}
    for each in (*own, step):
        run_step(each, live)
    pairs = [pair for name in dict.fromkeys(step.reads) for pair in permutations((name, step.out))]
    for written, read in pairs:
        arrays = [np.ndim(live[name]) > 0 for name in (written, read)]
        if all(arrays) and target(live[written]):
            fill = Step(_FILL, written, (written,), "{0}.fill(0.75)", None)
            yield Program(program.inputs, (*own, step, fill), ((read, np.shape(live[read])),))
    if np.ndim(live[step.out]) > 1:
        text = "{out} = {0} * 1\n{out}.reshape(-1)[-2:] = 0.75"
        flat = Step(_COPY, "copy", (step.out,), text, None)
        yield Program(program.inputs, (*own, step, flat), (("copy", live[step.out].shape),))


def _program(inputs: dict[str, np.ndarray], steps: list[Step], live: dict[str, Any]) -> Program:
    """The steps, with everything that none of them reads as an output."""
    read = {name for step in steps for name in step.reads if name != step.out}
    ends = [name for name in live if name not in read and name not in inputs] or list(live)[-1:]
    outputs = tuple((name, np.shape(live[name])) for name in ends)
    return Program(inputs, tuple(steps), outputs)


_SCALE = Operation("{0} / {c}", "{0} / {c}")
_COPY = Operation("{0} * 1", "{0} * 1")
_FILL = Operation("{0}.fill({c})", None, in_place=True)


def _inputs(rng: np.random.Generator, low: float = -2.0) -> dict[str, np.ndarray]:
    """One to four arrays whose axes have few different lengths, so that many go together."""
    n, m, k = (int(side) for side in rng.choice([1, 2, 3, 3, 4], 3))
    shapes = [(n,), (m,), (n, m), (m, n), (n, n), (1, m), (n, 1), (k, n, m), (m, k), ()]
    chosen = rng.integers(len(shapes), size=int(rng.integers(1, 5)))
    values = [np.asarray(rng.uniform(low, 2, shapes[j]).round(3)) for j in chosen]
    return {f"x{i}": value for i, value in enumerate(values)}


def _apply(
    rng: np.random.Generator,
    operation: Operation,
    live: dict[str, Any],
    out: str,
    inputs: Sequence[str],
) -> Step | None:
    """The operation applied to some of the values, which it is run on; `None` if none fit."""
    names = list(live)
    # Later values are read more often than by chance, so that programs become deep.
    chances = np.arange(1.0, len(names) + 1)
    chances /= chances.sum()
    for _ in range(TRIES):
        reads = tuple(names[i] for i in rng.choice(len(names), operation.reads, p=chances))
        arrays = [np.asarray(live[name]) for name in reads]
        if not operation.accepts(*arrays):
            continue
        parameters = operation.parameters(rng, *arrays)
        if parameters is None:
            continue
        if operation.in_place:
            out = reads[0]
            if any(np.may_share_memory(arrays[0], live[name]) for name in inputs):
                continue
        places = ("{0}", "{1}", "{2}")[: operation.reads]
        numpy = operation.numpy.format(*places, out="{out}", **parameters)
        torch = operation.torch
        if torch is not None:
            torch = torch.format(*places, out="{out}", **parameters)
            torch = torch.replace("np.array(", "torch.tensor(")
        step = Step(operation, out, reads, numpy, torch)
        if _run_within_bounds(step, live):
            return step
    return None


def _run_within_bounds(step: Step, live: dict[str, Any]) -> bool:
    """Runs the step, and takes it back unless all it makes or changes are reasonable numbers."""
    target = live.get(step.out)
    before = np.array(target)
    with np.errstate(all="ignore"):
        run_step(step, live)
    live.pop("row", None)
    touched = list(live) if step.operation.in_place else [step.out]
    if all(_is_reasonable(live[name]) for name in touched):
        return True
    if not step.operation.in_place:
        del live[step.out]
        return False
    live[step.out] = target
    if isinstance(target, np.ndarray):
        target[...] = before
    return False


def _is_reasonable(value: Any) -> bool:
    value = np.asarray(value)
    if value.dtype != np.float64 or not 0 < value.size <= MOST_VALUES or value.ndim > 4:
        return False
    size = np.max(np.abs(value))
    return bool(SMALL < size < 1e3 and np.isfinite(size))
