"""Collects nothing while numba compiles."""

from numba import config

collect_ignore_glob = [] if config.DISABLE_JIT else ["*"]
