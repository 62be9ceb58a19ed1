"""Expression simplification: a typed language of integer expressions, proved rewriting rules, searches, certificates.

`model` holds terms and their meaning, `parser` and `printer` their text, `rules` the rewriting rules and `proofs` their
proofs. `matcher` is the readable rewriter, `kernel` its compiled copy. `prover` finds proofs of single claims,
`witness` checks them.
`policies` are the searches, `rivals` other people's. After Chen & Tian, "Learning to perform local
rewriting for combinatorial optimization", NeurIPS 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sysgym.exprsimp.model import Expression, ExpressionError
from sysgym.exprsimp.parser import parse, read_expressions
from sysgym.exprsimp.printer import to_text

if TYPE_CHECKING:
    from sysgym.exprsimp.certificate import CertificateError
    from sysgym.exprsimp.evaluation import evaluate
    from sysgym.exprsimp.fast_parser import parse_many
    from sysgym.exprsimp.simplification import Simplification, check, simplify

_LAZY = {
    "CertificateError": "certificate", "evaluate": "evaluation", "parse_many": "fast_parser",
    "Simplification": "simplification", "check": "simplification", "simplify": "simplification",
}  # fmt: skip

__all__ = [
    "CertificateError", "Expression", "ExpressionError", "Simplification", "check", "evaluate", "parse", "parse_many",
    "read_expressions", "simplify", "to_text",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib  # noqa: PLC0415  numba loads only when something is computed

        return getattr(importlib.import_module(f"sysgym.exprsimp.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
