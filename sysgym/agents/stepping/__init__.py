"""Environments as an actor steps them: N episodes into its own memory, wherever they run.

`environments` is the small interface, over vector environments of ours and copies of anybody's; `processes` steps them
in worker processes, each of which runs `worker`. Nothing here knows who plays.
"""
