"""The walk back along a tape: reverse-mode automatic differentiation.

`walk_back` is all that the other modules use. `_walk` is the loop, `_pull` runs one rule; what has
to be done otherwise (a stack of gradients at once, 0 * inf, a check) is done by another `pull`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from tinygrad_edu.rules import Primitive, unbroadcast
from tinygrad_edu.tape import Entry, call, not_finite

__all__ = ["walk_back"]

Pull = Callable[[Any, Entry, int, Any, Any, Any], Any]


def walk_back(
    entries: list[Entry],
    g: Any,
    targets: Collection[Entry] | None = None,
    lift: Callable[[Entry, Any], Any] | None = None,
    retain: bool = True,
    watch: bool = False,
    stacked: bool = False,
    mended: bool = True,
    observe: Callable[[Entry, int, Any, Any], None] | None = None,
) -> dict[Entry, Any]:
    """The gradients of the last entry, weighted by `g`, with respect to the inputs of the tape.

    In short, and without the checks:

        gradients = {last: g}
        for entry in reversed(entries):
            g = gradients.pop(entry)
            for source, rule in zip(entry.inputs, entry.primitive.rules):
                gradients[source] += rule(g, entry.y, *entry.values)

    Where a derivative is infinite, a gradient of 0 would become 0 * inf = NaN, also in a branch
    that `np.where` did not take. So if a tape with singular operations gives a NaN, the walk asks
    what had an influence on the result at all, and goes back again: the rest has gradient 0. A NaN
    that remains, of finite values, is refused: what 0 * inf would be is not known.

    Args:
        entries: all that the last one depends on, in order: see `reachable`.
        g: the gradient at the last entry, of its shape and dtype; it is not changed.
        targets: the entries at which the walk ends; `None` for all inputs that need a gradient.
        lift: turns the value of an entry into something whose operations are recorded, for
            gradients that are to be differentiated again; by default the rules run on arrays.
        retain: whether the entries can be walked again.
        watch: whether to stop at the first NaN or infinity.
        stacked: whether `g` is a stack of gradients, one above the other along a new first axis;
            then the results are stacks, too.
        mended: whether 0 * inf is looked for; a program that is traced must not depend on values.
        observe: is told of every rule that is run: the entry, the position of the input, the
            gradient that arrived and the one that is sent there. Where the walk has to be done
            again, it is told again.

    Returns:
        A gradient for each target that the last entry depends on, in arrays of their own.

    Raises:
        FloatingPointError: the gradient is 0 * inf; with `watch`, a rule gave a NaN or an infinity.
    """
    pull: Pull = _pull_stack if stacked else _pull

    def walk(pull: Pull, free: bool = False) -> dict[Entry, Any]:
        seen = pull if observe is None else _with_observer(pull, observe)
        return _walk(entries, g, targets, lift, seen, free)

    if mended and any(e.primitive is not None and e.primitive.singular for e in entries):
        with np.errstate(all="ignore"):
            gradients = walk(pull)
            if _has_nan(gradients):
                pull = _with_influence(entries, g, targets, pull)
                gradients = walk(pull)
                if _has_nan(gradients) and _is_finite(entries, g):
                    walk(_with_check(pull, np.isnan))
                    raise FloatingPointError("backward: a gradient is inf - inf")
    else:
        gradients = walk(pull, free=not retain and not watch)
    if watch and not all(np.isfinite(gx).all() for gx in gradients.values()):
        with np.errstate(all="ignore"):
            walk(_with_check(pull, _is_not_finite))
    if not retain:
        for entry in entries:
            if entry.primitive is not None:
                entry.free()
    # Sums of arrays without axes are NumPy scalars.
    return gradients if lift else {entry: np.asarray(gx) for entry, gx in gradients.items()}


def _has_nan(gradients: dict[Entry, Any]) -> bool:
    """Whether one of the gradients has a NaN: then so has the sum of its squares."""
    return any(
        math.isnan(np.vdot(gx, gx)) if type(gx) is np.ndarray else np.isnan(gx).any()
        for gx in gradients.values()
    )


def _walk(
    entries: list[Entry],
    g: Any,
    targets: Collection[Entry] | None,
    lift: Callable[[Entry, Any], Any] | None,
    pull: Pull,
    free: bool = False,
) -> dict[Entry, Any]:
    """One way back; `pull` runs the rule of one input.

    With `free` each entry is freed as soon as it is done with, so that its memory, which is still
    in the processor's cache, is there for the gradients that are yet to come.
    """
    needed, ends = _way_to(entries, targets)
    gradients = {entries[-1]: g} if entries[-1] in needed else {}
    for entry in reversed(entries):
        if entry in ends or entry not in gradients:
            continue
        g = gradients.pop(entry)
        y, values, rules = entry.y, entry.values, entry.primitive.rules
        if lift is not None:
            if entry.name and getattr(g, "name", "") is None:
                g.name = f"d{entry.name}"
            y = lift(entry, y)
            values = [
                value if source is None else lift(source, value)
                for source, value in zip(entry.inputs, values, strict=True)
            ]
        for position, source in enumerate(entry.inputs):
            if source not in needed:
                continue
            rule = rules[position] if position < len(rules) else entry.primitive.rule(position)
            if rule is None:
                continue
            if lift is None and entry.kept is not None:
                rule = functools.partial(rule, kept=entry.kept)
            gx = pull(rule, entry, position, g, y, values)
            if source in gradients:
                gradients[source] = gradients[source] + gx
            elif lift is None and source in ends:
                gradients[source] = _owned(gx, g, y, entry.kept, *values)
            else:
                gradients[source] = gx
        if free:
            entry.free()
    return gradients


def _pull(rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any) -> Any:
    """The gradient of one input of an entry."""
    try:
        gx = rule(g, y, *values, **entry.keywords)
    except TypeError as error:
        raise _in_rule(error, entry.primitive, position) from error
    x = values[position]
    try:
        if gx.shape == x.shape and gx.dtype is x.dtype:
            return gx
    except AttributeError:
        pass
    return _fitted(gx, x, y, entry.primitive, position)


def _pull_stack(rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any) -> Any:
    """As `_pull` for each gradient of a stack: all at once where NumPy broadcasts over them."""
    x, core = values[position], entry.primitive.core_axes
    if core == 0:
        gx = rule(g, y, *values, **entry.keywords)
        stretched = (len(g), *(1,) * (y.ndim - x.ndim), *x.shape)
        return unbroadcast(gx, stretched).reshape(len(g), *x.shape).astype(x.dtype)
    if core == 2 and all(np.ndim(value) == 2 for value in values):
        return rule(g, y, *values, **entry.keywords).astype(x.dtype)
    return np.stack([_pull(rule, entry, position, one, y, values) for one in g])


def _with_influence(
    entries: list[Entry], g: Any, targets: Collection[Entry] | None, pull: Pull
) -> Pull:
    """As `pull`, but 0 instead of NaN where a value had no influence on the last entry at all.

    Not at all means that a choice (`np.where`, an index) or a constant 0 stands in the way. That a
    gradient happens to be 0 is no proof: that of sqrt(x)**2 at 0 is 0 * inf, too, and its slope 1.
    """
    reached = _influence(entries, g, targets, pull)

    def pull_with_influence(
        rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any
    ) -> Any:
        dead = ~reached[entry, position]

        def cleaned(gx: Any) -> Any:
            return np.where(dead & np.isnan(gx), 0, gx)

        if entry.primitive.core_axes != 0:
            return cleaned(pull(rule, entry, position, g, y, values))

        # Before the sums over what was broadcast, which mix the NaN with numbers.
        def cleaned_rule(*args: Any, **keywords: Any) -> Any:
            return cleaned(rule(*args, **keywords))

        return pull(cleaned_rule, entry, position, g, y, values)

    return pull_with_influence


def _influence(
    entries: list[Entry], g: Any, targets: Collection[Entry] | None, pull: Pull
) -> dict[tuple[Entry, int], np.ndarray]:
    """Which values of each input of each entry had an influence on the last entry.

    This is the walk back with random weights, in which no two paths cancel, along the same tape
    with other values: a 0, an infinity or a NaN that was computed could as well have been another
    number. What it is multiplied by then only is 0 where a choice or a constant makes it so.
    """
    rng = np.random.default_rng(0)
    reached: dict[tuple[Entry, int], np.ndarray] = {}

    def another(value: Any) -> Any:
        # The order of the numbers stays, as maximum and sort choose by it, but none is very large
        # or very small, so that products do not vanish, and none is exactly 1, as 1 - y * y might.
        value = np.nan_to_num(np.asarray(value, float), nan=1.0)
        return np.sign(value) * np.abs(value) ** 0.01 * rng.uniform(1, 1 + 1e-12, value.shape)

    def computed(entry: Entry, value: np.ndarray) -> np.ndarray:
        changed = another(value)
        if not entry.requires_grad:
            return changed
        return np.where(changed == 0, 1e-4 * rng.uniform(1, 2, value.shape), changed)

    def pull_weights(rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any) -> Any:
        elementwise = entry.primitive.core_axes == 0
        kinds = "fiu" if elementwise else "f"
        values = [
            another(value) if source is None and np.asarray(value).dtype.kind in kinds else value
            for source, value in zip(entry.inputs, values, strict=True)
        ]

        def reaching(*args: Any, **keywords: Any) -> Any:
            gx = np.where(g != 0, rule(*args, **keywords), 0)
            reached[entry, position] = gx != 0
            return gx

        try:
            gx = pull(reaching if elementwise else rule, entry, position, g, y, values)
        except Exception:  # a rule may do anything at values for which it was not made
            stack = g.shape[: g.ndim - y.ndim]
            gx = np.ones((*stack, *values[position].shape))
            reached[entry, position] = np.ones((*stack, *y.shape), bool)
        alive = np.asarray(gx != 0)
        if not elementwise:
            reached[entry, position] = alive
        return alive * rng.uniform(1, 2, alive.shape)

    weights = rng.uniform(1, 2, g.shape)
    if not getattr(g, "requires_grad", False):
        weights *= g != 0
    _walk(entries, weights, targets, computed, pull_weights)
    return reached


def _with_observer(pull: Pull, observe: Callable[[Entry, int, Any, Any], None]) -> Pull:
    """As `pull`, and tells of it."""

    def pull_and_tell(rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any) -> Any:
        gx = pull(rule, entry, position, g, y, values)
        observe(entry, position, g, gx)
        return gx

    return pull_and_tell


def _is_finite(entries: list[Entry], g: Any) -> bool:
    """Whether the result, its weights and the inputs are: then no NaN has been put in."""
    inputs = [entry.y for entry in entries if entry.primitive is None]
    return all(np.isfinite(value).all() for value in (entries[-1].y, g, *inputs))


def _is_not_finite(x: Any) -> Any:
    return ~np.isfinite(x)


def _with_check(pull: Pull, is_bad: Callable[[Any], Any]) -> Pull:
    """As `pull`, with an error at the first gradient that is bad."""
    infinite: list[str] = []

    def pull_with_check(rule: Any, entry: Entry, position: int, g: Any, y: Any, values: Any) -> Any:
        gx = pull(rule, entry, position, g, y, values)
        if not infinite and np.isfinite(g).all() and not np.isfinite(gx).all():
            infinite.append(call(entry))
        if is_bad(gx).any():
            where = f"; the derivative of {infinite[0]} is infinite" if infinite else ""
            why = f" (0 * inf or inf - inf{where})" if np.isnan(gx).any() else ""
            line = "" if entry.where else "; inside tg.debug() this says in which line"
            raise FloatingPointError(
                f"backward: the gradient of input {position} of {call(entry)} is "
                f"{not_finite(gx)}{why}{line}"
            )
        return gx

    return pull_with_check


def _way_to(
    entries: list[Entry], targets: Collection[Entry] | None
) -> tuple[set[Entry], set[Entry]]:
    """The entries that gradients have to reach on the way to the targets, and where they end."""
    if targets is None:
        needed = {entry for entry in entries if entry.requires_grad}
        return needed, {entry for entry in needed if entry.primitive is None}
    needed = set(targets)
    for entry in entries:
        if entry.requires_grad and not needed.isdisjoint(entry.inputs):
            needed.add(entry)
    return needed, set(targets)


def _in_rule(error: TypeError, primitive: Primitive, position: int) -> TypeError:
    return TypeError(
        f"in the derivative rule of {primitive.name} for its input {position}, called as "
        f"rule(g, y, *inputs, **keywords): {error}"
    )


def _fitted(gx: Any, x: Any, y: Any, primitive: Primitive, position: int) -> Any:
    """The gradient of `x` with broadcasting undone and in the dtype of `x`.

    Raises:
        ValueError: the rule returned something that is not a gradient of `x`.
    """
    if gx is None:
        raise ValueError(
            f"the derivative rule of {primitive.name} for its input {position} returned None"
        )
    if not hasattr(gx, "shape"):
        gx = np.asarray(gx)
    if gx.dtype.kind != "f":
        raise ValueError(
            f"the derivative rule of {primitive.name} for its input {position} returned dtype "
            f"{gx.dtype}, not a floating-point gradient"
        )
    core = primitive.core_axes
    if gx.shape != x.shape:
        if core is None:
            fits = False
        elif core == 0:
            fits = gx.shape == y.shape
        else:
            core = min(core, x.ndim)
            fits = gx.shape[-core:] == x.shape[-core:]
        if not fits:
            broadcasts = core is None and gx.shape == y.shape
            hint = "; if it broadcasts, pass core_axes=0 to .derivative" if broadcasts else ""
            raise ValueError(
                f"the derivative rule of {primitive.name} for its input {position} returned "
                f"shape {gx.shape}, but the input has shape {x.shape} and the output {y.shape}"
                f"{hint}"
            )
        gx = unbroadcast(gx, x.shape)
    return gx if gx.dtype == x.dtype else gx.astype(x.dtype)


def _owned(gx: Any, *given: Any) -> np.ndarray:
    """`gx`, or a copy of it if it may share its memory with anything that the rule was given."""
    if type(gx) is np.ndarray and gx.base is None and id(gx) not in map(id, given):
        return gx
    return np.array(gx)
