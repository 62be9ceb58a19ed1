"""Slow, literal replays of what other programs do, and of EASY with predicted times: plain lists and scans.

Like `batch_oracle`, this is written from the rules alone and shares no line with the package. Jobs are numbered in
trace order; times may be integers or floats.
"""

from __future__ import annotations

from collections import defaultdict

INFINITY = float("inf")


def rlscheduler(submit, run, requested, processors, machine, order="fcfs"):
    """RLScheduler's heuristic loop with its backfilling; start times in trace order.

    Its list of running jobs is kept as it keeps it: jobs are appended, and the list is sorted (stably) by requested
    end when a bound is computed and by real end before the next of them ends.
    """
    jobs = range(len(submit))
    start = [None] * len(submit)
    state = {"now": submit[0], "arrived": 0, "free": machine, "running": [], "queue": []}

    def launch(job):
        start[job] = state["now"]
        state["free"] -= processors[job]
        state["queue"].remove(job)
        state["running"].append(job)

    def next_event():
        state["running"].sort(key=lambda job: start[job] + run[job])
        release = start[state["running"][0]] + run[state["running"][0]] if state["running"] else INFINITY
        if state["arrived"] < len(submit) and submit[state["arrived"]] <= release:
            state["now"] = max(state["now"], submit[state["arrived"]])
            state["queue"].append(state["arrived"])
            state["arrived"] += 1
        else:
            state["now"] = max(state["now"], release)
            state["free"] += processors[state["running"].pop(0)]

    while None in start:
        while not state["queue"]:
            next_event()
        chosen = min(state["queue"], key=lambda job: (requested[job], submit[job], job) if order == "sjf" else job)
        if processors[chosen] > state["free"]:
            state["running"].sort(key=lambda job: start[job] + requested[job])
            free = state["free"]
            for job in state["running"]:
                free += processors[job]
                bound = start[job] + requested[job]
                if free >= processors[chosen]:
                    break
            while processors[chosen] > state["free"]:
                for job in [job for job in jobs if job in state["queue"]]:
                    if processors[job] <= state["free"] and state["now"] + requested[job] < bound:
                        launch(job)
                next_event()
        launch(chosen)
    return start


def accasim(submit, run, requested, processors, machine):
    """AccaSim 1.1.3's EASY; start times in trace order."""
    start, queue, running, free, arrived = [None] * len(submit), [], [], machine, 0
    head, shadow, now = None, None, None

    def launch(job):
        nonlocal free
        start[job] = now
        free -= processors[job]
        queue.remove(job)
        running.append(job)

    while None in start:
        moments = [start[job] + run[job] for job in running] + submit[arrived : arrived + 1]
        now = min(moments) if moments else shadow
        for job in [job for job in running if start[job] + run[job] == now]:
            running.remove(job)
            free += processors[job]
        while arrived < len(submit) and submit[arrived] == now:
            queue.append(arrived)
            arrived += 1
        if head is not None and now >= shadow and processors[head] <= free:
            launch(head)
            head = None
        while head is None and queue:
            if processors[queue[0]] <= free:
                launch(queue[0])
                continue
            head, released = queue[0], free
            for job in sorted(running, key=lambda job: start[job] + requested[job]):
                released += processors[job]
                shadow = start[job] + requested[job]
                if released >= processors[head]:
                    break
        for job in [job for job in queue if job != head]:
            if processors[job] <= free:
                launch(job)
    return start


MINUTE = 60
INCREMENTS = [MINUTE * minutes for minutes in (0, 1, 5, 15, 30, 60, 120, 300, 600, 1200, 3000, 6000)]


def easy_plus_plus(
    submit, run, requested, processors, user, machine, corrector, pass_rule, shortest_first=True, predictsim=False
):
    """EASY with predictions by the user's last two runs, start times in trace order.

    With `predictsim` a submission is followed by a pass only if the submitted job fits at that moment.
    """
    start, plan, corrections = [None] * len(submit), {}, defaultdict(int)
    queue, running, ended, arrived, now = [], [], defaultdict(list), 0, None

    def arrive():
        nonlocal arrived
        last = ended[user[arrived]][-2:]
        plan[arrived] = min(requested[arrived], sum(last) // 2) if len(last) == 2 else requested[arrived]
        queue.append(arrived)
        arrived += 1

    def complete(job):
        running.remove(job)
        ended[user[job]].append(run[job])

    def correct(job):
        if corrector == "reqtime":
            plan[job] = requested[job]
        elif corrector == "doubling":
            plan[job] *= 2
        else:
            done = corrections[job]
            corrections[job] += 1
            plan[job] = min(requested[job], plan[job] - INCREMENTS[done] + INCREMENTS[done + 1])

    def free_at(moment):
        return machine - sum(processors[job] for job in running if start[job] + plan[job] > moment)

    def launch(job):
        queue.remove(job)
        running.append(job)
        start[job] = now

    def schedule():
        while queue and processors[queue[0]] <= free_at(now):
            launch(queue[0])
        if not queue:
            return
        head = queue[0]
        ends = [start[job] + plan[job] for job in running]
        shadow = min(end for end in ends if free_at(end) >= processors[head])
        extra = free_at(shadow) - processors[head]
        for job in sorted(queue[1:], key=lambda job: (plan[job], job) if shortest_first else job):
            if processors[job] > free_at(now):
                continue
            if now + plan[job] <= shadow:
                launch(job)
            elif processors[job] <= extra:
                extra -= processors[job]
                launch(job)

    while arrived < len(submit) or running or queue:
        expiries = [start[job] + plan[job] for job in running if plan[job] < run[job]]
        completions = [start[job] + run[job] for job in running]
        now = min(expiries + completions + submit[arrived : arrived + 1])
        late = [job for job in running if plan[job] < run[job] and start[job] + plan[job] == now]
        if late:
            correct(late[0])
            continue
        over = [job for job in running if start[job] + run[job] == now]
        if pass_rule == "batch":
            for job in over:
                complete(job)
            while arrived < len(submit) and submit[arrived] == now:
                arrive()
        elif arrived < len(submit) and submit[arrived] == now:
            arrive()
            if predictsim and processors[arrived - 1] > free_at(now):
                continue
        else:
            complete(over[0])
        schedule()
    return start
