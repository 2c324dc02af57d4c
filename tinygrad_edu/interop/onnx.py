"""Models as ONNX files, which onnxruntime and many other tools run.

A model is recorded as it computes a few samples, and what was recorded is written down node by
node, so that any `forward` can be exported whose operations ONNX has. It is recorded with several
batch sizes: what differs between them would hold for one size alone, and is refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_edu.files import as_a_whole
from tinygrad_edu.interop.onnx_graph import Graph, Pair
from tinygrad_edu.interop.onnx_nodes import VERSION, translated
from tinygrad_edu.nn import LayerNorm, Linear, Module, Standardize, evaluating
from tinygrad_edu.recording import source_lines
from tinygrad_edu.tape import Entry, Tape
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.tracing import CompileError, Trace, tracing

__all__ = ["to_onnx"]

# With 1 sample an axis could be taken for one that is broadcast, or squeezed away: that shows here.
# An even and larger size shows what depends on the parity, or begins above a few samples.
_SIZES = 3, 1, 258
_MOST_BYTES = 2**31 - 2**20


def to_onnx(model: Module, path: str | os.PathLike[str], example: Any = None) -> None:
    """Writes a model into an ONNX file, as a whole or not at all.

    The graph has an input `x` of shape (batch, ...), for any number of samples, and an output `y`.
    Its numbers are those of the model in evaluation mode. The parameters have their own names, as
    W1 and b1, or their paths if several have the same. The operators are those of version 18 of the
    ONNX standard, which onnxruntime runs in float32 and float64. What becomes of NaN in x is up to
    the tool, since the standard does not say what a maximum over NaN is. Numbers that name no row
    of an Embedding, such as -1 or 0.7, are errors in onnxruntime, too.

    That the graph is right for any number of samples is found by recording 1, 3 and 258 of them: a
    model that does something else above 1000 samples is not told from others.

    Args:
        model: the net: any module whose `forward` is made of operations that ONNX has.
        path: a name that ends in ".onnx".
        example: some rows of X, for the shape of a sample and the dtype of `x`: whole numbers stay
            as they are, floats become what the parameters are. It may be left out if what comes
            first is a Linear or another layer that knows how many columns it gets.

    Raises:
        NotImplementedError: an operation without translation, whose line the message names, or one
            that ONNX does not have for these dtypes.
        ValueError: another ending; a shape of samples that is not known or does not fit; a model
            that branches on values, draws random numbers, or does something else for another
            number of samples; more than 2 GiB.
        TypeError: `model` is no module, or it returns something else than one Tensor.
        OSError: the file cannot be written.
        ModuleNotFoundError: onnx is missing; the extra `onnx` brings it.

    Example:
        >>> import os, tempfile
        >>> import tinygrad_edu as tg
        >>> path = os.path.join(tempfile.mkdtemp(), "net.onnx")
        >>> tg.to_onnx(tg.nn.MLP((2, 8, 3), rng=0), path)
        >>> import onnx
        >>> [node.op_type for node in onnx.load(path).graph.node]
        ['MatMul', 'Add', 'Relu', 'MatMul', 'Add', 'Identity']
    """
    if not isinstance(model, Module):
        raise TypeError(f"to_onnx takes a module, as tg.nn.MLP, got {type(model).__name__}")
    if Path(path).suffix.lower() != ".onnx":
        raise ValueError(f"the name of {path} must end in .onnx")
    try:
        import onnx
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'ONNX files need a library: pip install "tinygrad-edu[onnx]"'
        ) from error
    rows = _rows(model, example)
    graph, pair = _graph(model, rows)
    content = _content(onnx, graph, pair, rows)
    with as_a_whole(path) as unfinished:
        unfinished.write_bytes(content)


def _rows(model: Module, example: Any) -> np.ndarray:
    """Some samples as the model takes them."""
    tensors = [p for _, p in model.named_parameters()]
    dtype = np.result_type(*tensors) if tensors else np.dtype(float)
    if example is not None:
        rows = np.asarray(example)
        if rows.ndim == 0 or rows.shape[0] == 0 or rows.dtype.kind not in "fiub":
            raise ValueError(
                f"example must be rows of X, at least one, of numbers; got shape {rows.shape}, "
                f"dtype {rows.dtype}"
            )
        return rows.astype(dtype) if rows.dtype.kind == "f" else rows
    for _, module in model.named_modules():
        if isinstance(module, (Linear, Standardize, LayerNorm)):
            first = next(p for _, p in module.named_parameters())
            return np.zeros((1, first.shape[0]), dtype)
        if any(isinstance(value, Tensor) for value in vars(module).values()):
            break
    raise ValueError(
        f"the shape of the samples that this {type(model).__name__} takes is not known: pass some "
        f"rows of X, as tg.to_onnx(model, path, example=X[:1])"
    )


def _graph(model: Module, rows: np.ndarray) -> tuple[Graph, Pair]:
    """The graph of a model, and what it returned for the first two batch sizes."""
    first, *others = [_recorded(model, rows[np.arange(n) % len(rows)]) for n in _SIZES]
    graphs = [
        _graph_of_two(model, first, other, (_SIZES[0], n))
        for other, n in zip(others, _SIZES[1:], strict=True)
    ]
    if any(graph.nodes != graphs[0].nodes for graph in graphs):
        raise _other_for(model, _SIZES)
    return graphs[0], (first[1], others[0][1])


def _graph_of_two(model: Module, one: Pair, two: Pair, sizes: tuple[int, int]) -> Graph:
    """The graph of what was recorded, from input to output, with two batch sizes."""
    tapes = [Tape(y) for _, y in (one, two)]
    pairs = list(zip(*tapes, strict=False))
    positions = [{entry: i for i, entry in enumerate(tape)} for tape in tapes]
    same = len(tapes[0]) == len(tapes[1]) and all(
        a.primitive is b.primitive
        and a.keywords.keys() == b.keywords.keys()
        and [positions[0].get(s) for s in a.inputs] == [positions[1].get(s) for s in b.inputs]
        for a, b in pairs
    )
    if not same:
        raise _other_for(model, sizes)
    if one[0] not in positions[0]:
        raise ValueError(f"what {type(model).__name__} returns does not depend on x")
    graph = Graph((one[0], two[0]), sizes, _names(model))
    for pair in pairs:
        if pair[0].primitive is not None:
            graph.add(pair, translated)
    graph.finish(one[1])
    return graph


def _other_for(model: Module, sizes: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"{type(model).__name__} does something else for {sizes[0]} samples than for "
        f"{sizes[-1]}, where a graph is the same for all: do not branch on x.shape[0], nor "
        f"squeeze or drop its first axis"
    )


def _recorded(model: Module, rows: np.ndarray) -> tuple[Entry, Entry]:
    """The entries of the input and of the output."""
    trace = Trace(strict=True)
    x = Tensor(rows)
    source = x._own_entry()
    trace.inputs.add(source)
    with tracing(trace), source_lines(), evaluating(model), np.errstate(all="ignore"):
        try:
            y = model(x)
        except CompileError as error:
            trace.refused = error
        except Exception as error:
            error.add_note(f"(while to_onnx ran the model on {rows.dtype} of shape {rows.shape})")
            raise
    if trace.refused is not None:
        raise ValueError(
            f"{type(model).__name__} cannot be an ONNX graph, which is a compiled function, too: "
            f"{trace.refused}"
        ) from trace.refused
    if not isinstance(y, Tensor):
        raise TypeError(f"{type(model).__name__} must return one Tensor, got {type(y).__name__}")
    return source, y._own_entry()


def _names(model: Module) -> dict[int, str]:
    """The names of the parameters, by the id of their entries."""
    found: dict[int, tuple[str, Tensor]] = {}
    for path, p in model.named_parameters():
        found.setdefault(id(p._own_entry()), (path, p))
    own = {p.name for _, p in found.values()} - {None, "", "x", "y"}
    if len(own) == len(found):
        return {key: str(p.name) for key, (_, p) in found.items()}
    return {key: f"self.{path}" if path in ("x", "y") else path for key, (path, _) in found.items()}


def _content(onnx: Any, graph: Graph, pair: Pair, rows: np.ndarray) -> bytes:
    """The bytes of the file, checked by ONNX's own checker."""
    if sum(array.nbytes for array in graph.constants.values()) > _MOST_BYTES:
        raise ValueError("the parameters have more bytes than an ONNX file can hold, 2 GiB")
    make, kind = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype
    shape = [
        a if a == b else "batch" if (a, b) == graph.sizes else None
        for a, b in zip(*(entry.y.shape for entry in pair), strict=True)
    ]
    model = make.make_model(
        make.make_graph(
            graph.nodes,
            "model",
            [make.make_tensor_value_info("x", kind(rows.dtype), ["batch", *rows.shape[1:]])],
            [make.make_tensor_value_info("y", kind(pair[0].y.dtype), shape)],
            [
                onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
                for name, array in graph.constants.items()
            ],
        ),
        opset_imports=[make.make_opsetid("", VERSION)],
        ir_version=8,
        producer_name="tinygrad_edu",
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NotImplementedError(
            f"ONNX does not have all of this for these dtypes; make numbers floats first, as "
            f"x.astype(float) does. Its checker says: {error}"
        ) from error
    return bytes(model.SerializeToString(deterministic=True))
