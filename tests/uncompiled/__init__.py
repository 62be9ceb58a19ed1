"""Kernels as the Python that they are written in: `NUMBA_DISABLE_JIT=1 pytest tests/uncompiled`.

The compiler lets an index run out of an array and an integer overflow in silence; Python does neither. So small
instances of every kernel are played here by the interpreter, against the same references that the compiled ones meet,
and coverage can see which of their lines ran (`make coverage`). Without the variable there is nothing to collect.
"""
