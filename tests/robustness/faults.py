"""Plays commands many times over, each time with a fault at another place; a program of its own, see `test_commands`.

    python -m tests.robustness.faults FOLDER < CASES

CASES is JSON: (name, words of the command, places) of each. Every case is played once as it is, in this process, so
that its kernels are loaded. Then a child is forked for each fault and place. It counts what the command does to files
of its folder (opening for writing, renaming, removing) and at its place is killed (`kill`), or finds the disk full from
there on (`full`: files may not grow any more). One more child may write to nothing in its folder (`refused`), one more
may not even look into it (`closed`); where the tests run as root, to whom everything is allowed, both become nobody.
Another child runs the command again without a
fault. One JSON line a place, with the folder as the fault left it, and as the second run did.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from pathlib import Path

import sysgym.bench.runner
import sysgym.cli  # the heavy imports happen before the first fork

WRITING = os.O_WRONLY | os.O_RDWR
NOBODY = 65534
EVENTS = {"os.rename", "os.remove", "os.truncate"}


def run(words):
    """The exit code of a command that is run here, and what it says on standard error."""
    sys.argv = ["sysgym", *words]
    said = io.StringIO()
    sysgym.cli.log.file = said
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            sysgym.cli.main()
    except SystemExit as stop:
        return (stop.code or 0), said.getvalue()
    except Exception:
        return "not caught", traceback.format_exc()
    return 0, said.getvalue()


def arm(folder, place, fault):
    """Let the `place`-th change of a file below `folder` be the moment of the fault."""
    seen = 0

    def watch(event, arguments):
        nonlocal seen
        touches = event in EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING)
        if not touches or not str(arguments[0]).startswith(folder):
            return
        seen += 1
        if seen == place and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if seen == place and fault == "full":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    sys.addaudithook(watch)


def allow(folder, files, folders):
    """Set the permissions of a folder and of what lies in it."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(folders if path.is_dir() else files)


def refuse(folder, fault):
    """Make a folder read-only for this process, or close it."""
    allow(folder, *((0o444, 0o555) if fault == "refused" else (0, 0)))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def in_child(work):
    """What `work` returns, from a child process; None if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        answer = json.dumps(work()).encode()
        os.write(writing, answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return json.loads(answer) if answer else None


def play(folder, name, words, places):
    """One line for the undisturbed run, and one for each fault and place."""
    given = folder / "given"
    alone = folder / f"{name}.alone"
    shutil.copytree(given, alone)
    os.chdir(alone)
    yield {"case": name, "fault": "none", "first": run(words), "second": None, "left": str(alone), "after": str(alone)}
    for fault in ("kill", "full", "refused", "closed"):
        for place in range(1, places + 1 if fault in ("kill", "full") else 2):
            left, after = folder / f"{name}.{fault}.{place}.left", folder / f"{name}.{fault}.{place}"
            shutil.copytree(given, after)
            os.chdir(after)

            def faulty(fault=fault, place=place, after=after):
                arm(str(after), place, fault) if fault in ("kill", "full") else refuse(after, fault)
                return run(words)

            first = in_child(faulty)
            allow(after, 0o644, 0o755)
            shutil.copytree(after, left)
            second = in_child(lambda: run(words))
            yield {
                "case": name,
                "fault": fault,
                "first": first,
                "second": second,
                "left": str(left),
                "after": str(after),
            }


def main():
    """See the module."""
    folder = Path(sys.argv[1])
    for name, words, places in json.load(sys.stdin):
        for line in play(folder, name, words, places):
            sys.__stdout__.write(json.dumps(line) + "\n")
    sys.__stdout__.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
