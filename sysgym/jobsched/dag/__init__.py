"""Jobs that are graphs of stages on identical executors: Decima's problem (Mao et al., SIGCOMM 2019).

`profiles` holds stages and their measured durations, `generator` makes such profiles where no measured ones are at
hand, `arrivals` draws who comes when. `model` says what a decision is, `simulator` plays an episode on SimPy,
`dynamics` and `kernel` are its compiled copy. `bounds` tells what no schedule can beat, `tuning` chooses the exponent
of weighted fair sharing on training arrivals, `search` learns a priority there.
"""
