"""Benchmarks: rates and ratios measured in one run, never a pass or a fail."""
