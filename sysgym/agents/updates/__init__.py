"""What the updates of all algorithms are made of, before any algorithm is named.

Rewards are put on a running scale (`scaling`) and turned into `advantages`; gradients are added up by a `team` in an
order that its size does not change, and followed by one of the `optimizers`.
"""
