"""Benchmarks: experiments as data, their runner, records, statistics, leaderboard and report.

A *study* (a TOML file) names environments and policies; the runner expands it into *runs*, plays each on the same
scenarios, and appends one *record* a run; leaderboard and report are functions of records alone. Modules are imported
when used, so that a command loads only what it needs.
"""
