"""Filling a GPU cluster as decisions: tasks arrive, none ends, and a policy chooses the node of each.

The files are those of every problem; what is free, who fits and fragmentation come from the room above.
"""
