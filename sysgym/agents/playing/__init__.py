"""Who plays a slot, and who waits for whom.

An actor waits for its environments, all of them or, in `ready`, only for as many as have stepped; a `players.Player` is
an actor whose slot somebody else asks for, in a thread or (`agents.distributed`) on Ray; the `pipeline` stands between
players and learner and fixes how old the weights may be that play.
"""
