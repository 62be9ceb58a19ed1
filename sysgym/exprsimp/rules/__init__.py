"""Rewriting rules as data: `published.rules` holds them, `proofs.jsonl` their certificates.

`table` reads rules and orders them, `program` compiles them for the kernel. `sysgym.exprsimp.proofs` proves them.
"""
