"""A parallel machine with one queue of rigid jobs: replay of logs, and scheduling as decisions.

`model` says what a job, a rule and a state are, `simulator` is the readable truth on SimPy, `kernel` its compiled
copy, `observation` what a policy sees, `policies` the heuristics, `replay` a whole log under one policy.
"""
