"""IndexTune: which recursive model index suits a key set, found in as few evaluations as possible.

`model` is the grid of 399 configurations and the state of a search, `costs` the calibrated model of time, `tables` what
an evaluation finds out, `instances` the key sets that are played, `families` where those come from. `simulator` is the
readable truth and `kernel` its compiled copy, both over `dynamics`; `observation`, `policies`, `rewards`, `metrics` and
`engine` are what every problem has. `programme` is a bound from outside of the grid.
"""
