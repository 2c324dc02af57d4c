"""The compiler: tape -> simpler tape -> buffer plan -> NumPy source -> function."""

from tinygrad_edu.compiler.compiled import compile
from tinygrad_edu.tracing import CompileError

__all__ = ["CompileError", "compile"]
