"""DeepRM's cluster: a few visible job slots, several resources, planning ahead in time steps.

`model` says what a cluster and its state are and which quirks of the published code can be switched, `simulator` is
the readable truth on SimPy, `kernel` its compiled copy, `observation` what a policy sees, `rewards` what it earns,
`policies` the heuristics, `metrics` the scores, `engine` puts them together, `picture` shows a state to people.
"""
