"""Clusters of GPU nodes: tasks that share GPUs, take several, or come as gangs, and policies that choose their nodes.

`model` says what a node, a job and a pass are, `instances` makes them of logs and lists of nodes, `placement` and
`policies` choose nodes, `fragmentation` says what is left over for nobody, `simulator` is the readable truth on SimPy,
`kernel` its compiled copy, `replay` a whole log under one policy, `inflation` a cluster that is filled.
"""
