"""Processes that end early."""

import signal
import subprocess
import sys

STARTER = """
import multiprocessing, os, signal, time
from sysgym.core.stopping import end_with_parent

def work(sender):
    end_with_parent()
    sender.send("at work")
    time.sleep(600)

if __name__ == "__main__":
    receiver, sender = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=work, args=(sender,)).start()
    print(receiver.recv(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_whoever_started_it(tmp_path):
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    # the worker writes into the same pipe, so this returns when both have ended
    made = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (made.returncode, made.stdout) == (-signal.SIGKILL, "at work\n")
