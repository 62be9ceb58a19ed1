"""FIFO and fair sharing of DagSched, written from the specification alone: dictionaries, lists and a heap.

Nothing is taken from `sysgym.jobsched.dag`: neither its table of durations, nor its draws, nor its rules. Shared is
the readable Philox of `core.seeding`, the cleaned profiles, and who comes when.
"""

import heapq
import itertools
import math

from sysgym.core.seeding import philox4x32

LEVELS = [5, 10, 20, 40, 50, 60, 80, 100]


def draws(key, episode, task):
    """The two numbers of a task."""
    a, b, c, d = philox4x32(key, task, episode & 0xFFFFFFFF, episode >> 32, 0)
    return ((a >> 5) * 2**26 + (b >> 6)) / 2**53, ((c >> 5) * 2**26 + (d >> 6)) / 2**53


def duration(profile, number, task, attached, before, key, episode, inverted, warm_up):
    """Of a task of stage `number`; `before` is the stage that its executor worked on, None if it is fresh."""
    stage = profile.stages[number].prepared()
    for_level, for_place = draws(key, episode, task)
    level = min(max(attached, 5), 100)
    if level not in LEVELS:
        low = max(one for one in LEVELS if one < level)
        high = min(one for one in LEVELS if one > level)
        weight = (level - low) / (high - low) if inverted else (high - level) / (high - low)
        level = low if for_level < weight else high
    known = [one for one in LEVELS if any(len(wave.get(one, ())) for wave in (stage.fresh, stage.first, stage.rest))]
    if level not in known:
        level = min(known, key=lambda one: (abs(one - level), one))
    fresh, first, rest = (list(wave.get(level, ())) for wave in (stage.fresh, stage.first, stage.rest))
    if before is None:
        values = fresh or [value + warm_up for value in first or rest]
    elif before == number and rest:
        values = rest
    else:
        values = first or fresh or rest
    return int(values[int(for_place * len(values))])


class Oracle:
    """An episode under a cap: "fifo" gives the first job all executors, "fair" ceil(executors / unfinished jobs)."""

    def __init__(self, profiles, arrivals, rule, executors, delay, inverted, warm_up):
        self.rule, self.delay, self.inverted, self.warm_up = rule, delay, inverted, warm_up
        self.kinds = [profiles[kind] for kind in arrivals.kind.tolist()]
        self.key, self.episode = arrivals.duration_key, arrivals.episode
        self.size = executors
        self.at = dict.fromkeys(range(executors), ("pool", None))  # pool of a job, (stage, job, number), moving
        self.home = dict.fromkeys(range(executors))
        self.taken, self.ended = {}, {}
        self.promises = []  # [source, (job, stage) or None, count]
        self.finish, self.present = {}, []
        base, self.first_task = 0, {}
        for job, profile in enumerate(self.kinds):
            for number, stage in enumerate(profile.stages):
                self.first_task[job, number] = base
                self.taken[job, number] = self.ended[job, number] = 0
                base += stage.tasks
        self.order, self.agenda, self.now = itertools.count(), [], 0
        for job, submit in enumerate(arrivals.submit.tolist()):
            self.later(submit, "arrival", job)

    def later(self, delay, kind, what):
        heapq.heappush(self.agenda, (self.now + delay, next(self.order), kind, what))

    def play(self):
        """Completion time of every job, ms."""
        while self.agenda:
            self.now, _, kind, what = heapq.heappop(self.agenda)
            getattr(self, kind)(what)
        return self.finish

    # looking things up

    def tasks(self, stage):
        return self.kinds[stage[0]].stages[stage[1]].tasks

    def parents(self, stage):
        return [(stage[0], a) for a, b in self.kinds[stage[0]].edges.tolist() if b == stage[1]]

    def stages(self, job):
        return [(job, number) for number in range(len(self.kinds[job].stages))]

    def complete(self, stage):
        return self.ended[stage] == self.tasks(stage)

    def runnable(self, stage):
        return all(self.complete(parent) for parent in self.parents(stage))

    def left(self, stage):
        promised = sum(count for _, target, count in self.promises if target == stage)
        moving = sum(place == ("moving", stage) for place in self.at.values())
        return self.tasks(stage) - self.taken[stage] - promised - moving

    def open(self, stage):
        return self.left(stage) > 0 and all(self.left(parent) <= 0 for parent in self.parents(stage))

    def has(self, job):
        own = sum(home == job for home in self.home.values())
        moving = sum(kind == "moving" and what is not None and what[0] == job for kind, what in self.at.values())
        promised = sum(
            count for source, target, count in self.promises if target and target[0] == job and source[0] != job
        )
        return own + moving + promised

    # events

    def arrival(self, job):
        self.present.append(job)
        self.ask_pool(None)

    def arrived(self, e):
        _, stage = self.at[e]
        self.at[e] = ("pool", None)
        if stage is None:
            self.look_elsewhere(e)
            return
        self.home[e] = stage[0]
        self.go(e, stage)

    def task_end(self, e):
        _, stage = self.at[e]
        job = stage[0]
        self.ended[stage] += 1
        if self.taken[stage] < self.tasks(stage):
            self.work(e, stage, stage[1])
            return
        children = [(job, b) for a, b in self.kinds[job].edges.tolist() if a == stage[1]]
        freed = self.complete(stage) and any(self.runnable(child) for child in children)
        done = all(map(self.complete, self.stages(job)))
        source = (job, stage[1])
        if any(promise[0] == source for promise in self.promises):
            self.follow(e, source)
        elif done or freed:
            self.idle(e)
        else:
            count = sum(place == ("stage", stage) for place in self.at.values())
            self.round(source, job, count)
            self.follow(e, source)
        if done:
            self.finish[job] = self.now
            self.present.remove(job)
            for other in self.home:
                if self.home[other] == job:
                    self.home[other] = None
                if self.at[other][0] == "moving" and self.at[other][1] is not None and self.at[other][1][0] == job:
                    self.at[other] = ("moving", None)
            self.promises = [one for one in self.promises if not one[1] or one[1][0] != job]
        if freed:
            self.ask_pool(job)
        if freed or done:
            self.ask_pool(None)
        if not self.agenda and self.present:
            for pool in (None, *self.present):
                self.ask_pool(pool)

    # decisions

    def ask_pool(self, job):
        idle = [e for e in sorted(self.at) if self.at[e] == ("pool", None) and self.home[e] == job]
        if idle:
            source = (job, "pool")
            self.round(source, job, len(idle))
            for e in idle:
                self.follow(e, source)

    def round(self, source, job, free):
        """The rule itself, decision by decision."""
        chosen = set()
        while free > 0:
            cap = self.size if self.rule == "fifo" else math.ceil(self.size / max(1, len(self.present)))
            stage, limit = self.choose(job, free, cap, chosen)
            if stage is None:
                break
            count = min(self.left(stage), limit - self.has(stage[0]) + (free if stage[0] == job else 0), free)
            chosen.add(stage)
            self.promises.append([source, stage, count])
            free -= count
        if free:
            self.promises.append([source, None, free])

    def choose(self, job, free, cap, chosen):
        jobs = [job] if job in self.present else []
        for candidate in (*jobs, *self.present):
            own = candidate == job and candidate in jobs
            if own or self.has(candidate) - (free if candidate == job else 0) < cap:
                found = [stage for stage in self.stages(candidate) if self.open(stage) and stage not in chosen]
                if found:
                    best = next((stage for stage in found if self.runnable(stage)), found[0])
                    first = own and jobs
                    if own:
                        jobs = []
                    return best, self.size if first else cap
        return None, 0

    # executors

    def follow(self, e, source):
        promise = next(one for one in self.promises if one[0] == source)
        promise[2] -= 1
        if promise[2] == 0:
            self.promises.remove(promise)
        if promise[1] is None:
            self.idle(e)
        else:
            self.go(e, promise[1])

    def go(self, e, stage):
        if self.taken[stage] >= self.tasks(stage):
            self.look_elsewhere(e)
        elif self.home[e] != stage[0]:
            self.move(e, stage)
        elif self.runnable(stage):
            self.work(e, stage, self.at[e][1][1] if self.at[e][0] == "stage" else None)
        else:
            self.idle(e)

    def look_elsewhere(self, e):
        own = self.home[e]
        for stage in self.stages(own) if own is not None else ():
            if self.runnable(stage) and self.left(stage) > 0:
                self.work(e, stage, self.at[e][1][1] if self.at[e][0] == "stage" else None)
                return
        found = next((stage for job in self.present for stage in self.stages(job) if self.open(stage)), None)
        if found is None or found[0] == own:
            self.idle(e)
        else:
            self.move(e, found)

    def move(self, e, stage):
        self.home[e], self.at[e] = None, ("moving", stage)
        self.later(self.delay, "arrived", e)

    def idle(self, e):
        self.at[e] = ("pool", None)
        job = self.home[e]
        if job is not None and all(self.taken[stage] == self.tasks(stage) for stage in self.stages(job)):
            self.home[e] = None

    def work(self, e, stage, before):
        self.at[e] = ("stage", stage)
        attached = sum(home == stage[0] for home in self.home.values())
        task = self.first_task[stage] + self.taken[stage]
        self.taken[stage] += 1
        taken = duration(
            self.kinds[stage[0]], stage[1], task, attached, before, self.key, self.episode, self.inverted, self.warm_up
        )
        self.later(taken, "task_end", e)
