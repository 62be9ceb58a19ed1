"""A slow, literal replay of gangs on GPU nodes: the judge of the project's fast replays.

Written from the rules alone; it shares no line with the package. Nodes are dicts (cpu, memory, kind, gpus: a list of
thousandths free), jobs dicts (submit, run, planned, workers, cpu, memory, gpus, share, kinds: a set). Every choice is a
scan of all nodes, the fragmentation of a node is summed over the typical tasks one by one, and the next instant is the
least of all times that are known. Random choices are not judged. Events of one instant: completions in the order of
the starts, demotions likewise, arrivals, one pass.
"""

import copy
import math
from collections import Counter

INFINITY = math.inf


def typical_tasks(jobs, share):
    """(cpu, share, gpus, kinds) and its frequency, the most frequent first, until they make up the share."""
    counted = Counter()
    for job in jobs:
        bits = sum(1 << kind for kind in job["kinds"])
        counted[(job["cpu"], job["share"], job["gpus"], bits)] += job["workers"]
    chosen, sofar, total = [], 0, sum(counted.values())
    for task, count in sorted(counted.items(), key=lambda item: (-item[1], *(-value for value in item[0]))):
        if sofar < share * total:
            chosen.append((task, count))
            sofar += count
    return chosen


def fragmentation(node, typical):
    """What typical tasks can't use of a node's free GPUs, summed with their frequencies."""
    lost, free = 0, sum(node["gpus"])
    for (cpu, share, gpus, kinds), count in typical:
        fitting = [left for left in node["gpus"] if left >= share] if share else []
        able = share > 0 and (kinds >> node["kind"]) & 1 if node["kind"] >= 0 else False
        if able and node["cpu"] >= cpu and len(fitting) >= gpus:
            lost += count * (free - sum(fitting))
        else:
            lost += count * free
    return lost


def fits(node, job):
    if node["cpu"] < job["cpu"] or node["memory"] < job["memory"]:
        return False
    if job["gpus"] == 0:
        return True
    return node["kind"] in job["kinds"] and sum(left >= job["share"] for left in node["gpus"]) >= job["gpus"]


def take(node, job, gpus, sign=1):
    node["cpu"] -= sign * job["cpu"]
    node["memory"] -= sign * job["memory"]
    for g in gpus:
        node["gpus"][g] -= sign * job["share"]


class Oracle:
    def __init__(self, nodes, jobs, policy="fgd", queue="greedy", scores="rounded", restart=60.0, checkpoint=0.0,
                 levels=(3600.0, 36000.0), typical_share=0.95):  # fmt: skip
        self.nodes, self.jobs = copy.deepcopy(nodes), jobs
        self.policy, self.queue, self.rounded = policy, queue, scores == "rounded"
        self.restart, self.checkpoint, self.levels = restart, checkpoint, levels
        self.typical = typical_tasks(jobs, typical_share)
        self.total = sum(count for _, count in self.typical)
        self.most_cpu = max(1, *(node["cpu"] for node in nodes))
        self.most_gpu = max(1, *(1000 * len(node["gpus"]) for node in nodes))
        self.held = [[] for _ in nodes]
        self.state = [{"done": 0.0, "served": 0.0, "level": 0, "starts": 0, "on": None, "lost": False} for _ in jobs]
        self.events, self.placements, self.samples = [], [], []
        self.order = 0

    # who goes where

    def gpus_on(self, node, job):
        if job["gpus"] == 0:
            return []
        if job["share"] == 1000:
            return [g for g, left in enumerate(node["gpus"]) if left == 1000][: job["gpus"]]
        able = [g for g, left in enumerate(node["gpus"]) if left >= job["share"]]
        if self.policy == "first_fit":
            return able[:1]
        if self.policy == "fgd":
            return [min(able, key=lambda g: (self.fgd(node, job, [g]), g))]
        return [min(able, key=lambda g: (node["gpus"][g], g))]

    def fgd(self, node, job, gpus):
        after = copy.deepcopy(node)
        take(after, job, gpus)
        increase = fragmentation(after, self.typical) - fragmentation(node, self.typical)
        return -math.floor(100 / (1 + math.exp(increase / (1000 * self.total)))) if self.rounded else increase

    def score(self, n, job):
        node = self.nodes[n]
        free, asked = sum(node["gpus"]), job["gpus"] * job["share"]
        if self.policy == "first_fit":
            return n
        if self.policy == "fgd":
            return self.fgd(node, job, self.gpus_on(node, job))
        if self.policy == "best_fit":
            left = 0.5 * (node["cpu"] - job["cpu"]) / self.most_cpu + 0.5 * (free - asked) / self.most_gpu
            return -math.floor(100 * (1 - left)) if self.rounded else left
        if self.policy == "dot_product":
            product = node["cpu"] * job["cpu"] / self.most_cpu**2 + free * asked / self.most_gpu**2
            return -math.floor(100 * (1 - product / 2)) if self.rounded else product
        if job["gpus"] == 0:
            return 0
        return self.packing(node, job) if self.policy == "packing" else self.clustering(n, job)

    def packing(self, node, job):
        idle = node["gpus"].count(1000)
        used = [left for left in node["gpus"] if job["share"] <= left < 1000]
        if idle == len(node["gpus"]):
            return -max(33 - idle, idle) if self.rounded else (3, idle)
        if not used:
            return -max(50 - job["gpus"], 33) if self.rounded else (2, 0)
        return -max(100 - min(used) * 100 // 1000 // 10, 50) if self.rounded else (1, min(used))

    def clustering(self, n, job):
        tags = {
            (other["gpus"], other["share"] == 1000) for other in (self.jobs[j] for j in self.held[n]) if other["gpus"]
        }
        own, free = (job["gpus"], job["share"] == 1000), sum(self.nodes[n]["gpus"])
        band = (0 if len(tags) == 1 else 1) if own in tags else (3 if tags else 2)
        if self.rounded:
            return -(25 * (self.most_gpu - free) // self.most_gpu + 25 * (3 - band))
        return (band, free)

    def place(self, j):
        """All workers of a job, or nothing."""
        job, rows = self.jobs[j], []
        for _ in range(job["workers"]):
            able = [n for n in range(len(self.nodes)) if fits(self.nodes[n], job)]
            if not able:
                for n, gpus in rows:
                    take(self.nodes[n], job, gpus, -1)
                    self.held[n].remove(j)
                return None
            n = min(able, key=lambda n: (self.score(n, job), n))
            gpus = self.gpus_on(self.nodes[n], job)
            take(self.nodes[n], job, gpus)
            self.held[n].append(j)
            rows.append((n, gpus))
        return rows

    def give_back(self, j, sign=-1):
        for n, gpus in self.state[j]["on"]:
            take(self.nodes[n], self.jobs[j], gpus, sign)
            self.held[n].append(j) if sign == 1 else self.held[n].remove(j)

    # who waits, runs and is stopped

    def milli(self, j):
        return self.jobs[j]["workers"] * self.jobs[j]["gpus"] * self.jobs[j]["share"]

    def progress(self, j):
        state = self.state[j]
        if state["on"] is None:
            return state["done"]
        return state["done"] + max(0.0, self.now - state["began"] - state["restart"])

    def key(self, j):
        own = {"shortest": lambda: self.jobs[j]["planned"], "las": lambda: self.state[j]["level"],
               "srtf": lambda: max(0.0, self.jobs[j]["planned"] - self.progress(j))}  # fmt: skip
        return (own[self.queue]() if self.queue in own else 0, j)

    def running(self):
        return [j for j, state in enumerate(self.state) if state["on"] is not None]

    def has_room(self, j):
        """Place a job and take it away again."""
        rows = self.place(j)
        for n, gpus in rows or []:
            take(self.nodes[n], self.jobs[j], gpus, -1)
            self.held[n].remove(j)
        return rows is not None

    def make_room(self, j):
        worse = sorted((k for k in self.running() if self.key(k)[0] > self.key(j)[0]), key=self.key)
        released = []
        while worse and not self.has_room(j):
            released.append(worse.pop())
            self.give_back(released[-1])
        enough = self.has_room(j)
        stopped = list(released)
        for k in reversed(released):
            self.give_back(k, 1)
            if enough and not self.has_room(j):
                self.give_back(k)
            else:
                stopped.remove(k)
        for k in stopped:
            self.stop(k)
        return enough

    def stop(self, j):
        state = self.state[j]
        progress = self.progress(j)
        kept = progress if self.checkpoint == 0 else progress // self.checkpoint * self.checkpoint
        kept = 0.0 if self.checkpoint == INFINITY else kept
        self.events.append((self.now, "PREEMPT", j, progress - kept))
        state["served"] += (self.now - state["began"]) * self.milli(j) / 1000
        state["done"] = kept
        self.leave(j)
        self.waiting.append(j)

    def leave(self, j):
        for row in self.placements:
            if row[0] == j and row[4] == INFINITY:
                row[4] = self.now
        self.state[j]["on"] = None

    def begin(self, j, rows):
        state = self.state[j]
        state["starts"] += 1
        restart = self.restart if state["starts"] > 1 else 0.0
        self.order += 1
        state |= {"on": rows, "began": self.now, "restart": restart, "order": self.order}
        state["end"] = self.now + restart + (self.jobs[j]["run"] - state["done"])
        for n, gpus in rows:
            self.events.append((self.now, "PLACE", j, n))
            self.placements.append([j, n, sum(1 << g for g in gpus), self.now, INFINITY])
        self.events.append((self.now, "START", j, self.milli(j)))
        self.watch(j)

    def watch(self, j):
        state = self.state[j]
        state["demotion"] = INFINITY
        if self.queue == "las" and self.milli(j) and state["level"] < len(self.levels):
            left = self.levels[state["level"]] - state["served"]
            state["demotion"] = max(self.now, state["began"] + left * 1000 / self.milli(j))

    def run(self):
        self.waiting, self.now, arrived = [], 0.0, 0
        while True:
            running = self.running()
            times = [self.state[j][what] for j in running for what in ("end", "demotion")]
            times += [job["submit"] for job in self.jobs[arrived:]]
            self.now = min(times, default=INFINITY)
            if self.now == INFINITY:
                return self
            for j in sorted(running, key=lambda j: self.state[j]["order"]):
                if self.state[j]["end"] == self.now:
                    self.give_back(j)
                    self.leave(j)
                    self.events.append((self.now, "FINISH", j, self.milli(j)))
            for j in self.running():
                while self.state[j]["demotion"] == self.now:
                    self.state[j]["level"] += 1
                    self.watch(j)
            while arrived < len(self.jobs) and self.jobs[arrived]["submit"] == self.now:
                self.events.append((self.now, "SUBMIT", arrived, self.milli(arrived)))
                self.waiting.append(arrived)
                arrived += 1
            self.make_pass()

    def make_pass(self):
        tried = set()
        while left := sorted((j for j in self.waiting if j not in tried), key=self.key):
            j = left[0]
            tried.add(j)
            rows = self.place(j)
            if rows is None and self.queue in {"srtf", "las"} and self.make_room(j):
                rows = self.place(j)
            if rows is not None:
                self.waiting.remove(j)
                self.begin(j, rows)
            elif self.queue == "loss":
                self.waiting.remove(j)
                self.events.append((self.now, "DROP", j, self.milli(j)))
            elif self.queue == "fifo":
                break
        fragmented = sum(fragmentation(node, self.typical) for node in self.nodes)
        self.samples.append((self.now, sum(self.milli(j) for j in self.running()), fragmented / self.total))
