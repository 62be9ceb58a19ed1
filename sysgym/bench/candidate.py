"""The program that a candidate's process runs: put up the fences, load the policy, answer one question at a time.

Started by `isolation` with a clean environment in an empty folder. Two pipes lead to the evaluation, and what the
policy prints goes nowhere. It knows spaces, observations and masks; no seed of a scenario, no clock of the simulation,
and no reward ever come here.
"""

import contextlib
import importlib.util
import inspect
import itertools
import json
import operator
import os
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any


def main() -> None:
    """Wait for orders on the control socket: play a scenario in a fresh process, or end the one that plays.

    Importing numpy, or the library of a model, takes longer than most scenarios do, so it is done once, here, and each
    scenario gets a copy of this process. No candidate's code ever runs in this one.
    """
    # libraries that look for a place to write shall find one that is there, although they may not write to it
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path.cwd())
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    import sandbox  # type: ignore[import-not-found]  # noqa: PLC0415  ours, found by path: no package of ours is imported
    import wire  # type: ignore[import-not-found]  # noqa: PLC0415

    sys.path.remove(here)
    control = socket.socket(fileno=int(sys.argv[1]))
    if algorithm := sys.argv[2]:
        with contextlib.suppress(ImportError):  # the copy that plays says what is missing
            importlib.import_module(_home(algorithm))
    playing = 0
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if playing:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(playing, signal.SIGKILL)
            os.kill(playing, signal.SIGKILL)
            os.waitpid(playing, 0)
            playing = 0
        if not order:
            return
        if order == wire.PLAY:
            questions, answers = descriptors
            playing = os.fork()
            if playing == 0:
                os.setpgid(0, 0)
                _leave_only(questions, answers)
                serve(sandbox, wire, questions, answers)
                os._exit(0)
            os.setpgid(playing, playing)  # here too, so that it holds as soon as this process goes on
            for descriptor in descriptors:
                os.close(descriptor)
        control.sendall(order)


def _leave_only(*kept: int) -> None:
    """Close every descriptor but these; standard input and output lead nowhere already."""
    for begin, end in itertools.pairwise((2, *sorted(kept), os.sysconf("SC_OPEN_MAX"))):
        os.closerange(begin + 1, end)


def serve(sandbox: Any, wire: Any, questions: int, answers: int) -> None:
    """Load the policy that the first frame names, then answer."""

    def tell(kind: bytes, payload: bytes = b"") -> None:
        os.write(answers, wire.frame(kind, payload))

    try:
        hello = json.loads(_read(wire, questions)[1])
        facts = {name: wire.space_of(hello[name]) for name in ("observation_space", "action_space")}
        if hello["file"].endswith(".zip"):
            importlib.import_module(_home(hello["class"]))  # a library; what it unpickles comes behind the fences
        fences = sandbox.fence(hello["readable"], hello["memory_bytes"], hello["cpu_seconds"])
        load = _stable_baselines if hello["file"].endswith(".zip") else _policy_of
        policy = load(hello, facts["observation_space"], facts["action_space"])
        door = next(name for name in hello["doors"] if callable(getattr(policy, name, None)))
        if hasattr(policy, "reset"):
            policy.reset()
        ask = _by_batch(policy) if door == "act_batch" else getattr(policy, door)
        tell(wire.READY, wire.encoded({"door": door, "fences": fences}))
        layout: Any = None
        while True:
            kind, payload = _read(wire, questions)
            if kind == wire.LAYOUT:
                layout = json.loads(payload)
                continue
            action = ask(*wire.value_of(layout, payload))
            try:
                number = operator.index(action)
                tell(wire.CHOSEN, wire.ACTION.pack(number))
            except Exception:  # whatever is no 64-bit integer, however it says so
                tell(wire.NOT_AN_ACTION)
    except EOFError:
        return
    except BaseException as error:  # a candidate may raise anything; it is told, and the process ends
        tell(wire.FAULT, wire.encoded(_fault(error, hello["file"]))[: wire.LARGEST_REPLY - 64])


def _read(wire: Any, descriptor: int) -> tuple[bytes, bytes]:
    length, kind = wire.HEAD.unpack(_exactly(descriptor, wire.HEAD.size))
    return bytes([kind]), _exactly(descriptor, length)


def _exactly(descriptor: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0:
        part = os.read(descriptor, count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _policy_of(hello: dict[str, Any], observation_space: Any, action_space: Any) -> Any:
    path = Path(hello["file"])
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("candidate_policy", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["candidate_policy"] = module
    spec.loader.exec_module(module)
    classes = {
        name: item
        for name, item in vars(module).items()
        if inspect.isclass(item)
        and item.__module__ == module.__name__
        and any(callable(getattr(item, door, None)) for door in hello["doors"])
    }
    if not hello["class"] and not classes and any(callable(getattr(module, door, None)) for door in hello["doors"]):
        return module  # functions: the file itself is the policy
    wanted = hello["class"] or ("Policy" if "Policy" in classes or len(classes) != 1 else next(iter(classes)))
    if wanted not in classes:
        found = ", ".join(sorted(classes)) or "none"
        raise LookupError(
            f"no class {wanted} with a method act or act_on_state (found: {found}); name it as file.py:Class"
        )
    chosen: Any = classes[wanted]
    try:
        takes_seed = "seed" in inspect.signature(chosen).parameters
    except ValueError:
        takes_seed = False
    named = {"seed": hello["seed"]} if takes_seed else {}
    if chosen.__init__ is object.__init__:  # a policy that needs no spaces needs no constructor
        return chosen()
    return chosen(observation_space, action_space, **named)


_MASKED = "MaskablePPO"
_CONTRIBUTED = (_MASKED, "RecurrentPPO", "QRDQN")


def _home(algorithm: str) -> str:
    """The package that has an algorithm of stable-baselines3's family."""
    return "sb3_contrib" if algorithm in _CONTRIBUTED else "stable_baselines3"


def _stable_baselines(hello: dict[str, Any], observation_space: Any, action_space: Any) -> Any:
    # who plays needs no room for a million steps to learn from, nor a look at how much memory the machine has
    sys.modules["stable_baselines3.common.buffers"].psutil = None  # type: ignore[attr-defined]
    try:
        algorithm = getattr(sys.modules[_home(hello["class"])], hello["class"])
        model = algorithm.load(hello["file"], device="cpu", custom_objects={"buffer_size": 1})
    except Exception as error:  # a pickle may raise anything
        raise LookupError(f"not a stable-baselines3 model ({type(error).__name__}: {error})") from error
    if (model.observation_space, model.action_space) != (observation_space, action_space):
        raise LookupError(
            f"trained on observations {model.observation_space} and actions {model.action_space}; the environment has "
            f"{observation_space} and {action_space}: make it with the arguments that the model was trained with"
        )
    return _Greedy(model)


class _Greedy:
    """A stable-baselines3 model behind the policy protocol; it acts greedily; a masked one sees the mask.

    It plays one scenario, through which a recurrent one remembers.
    """

    def __init__(self, model: Any) -> None:
        self.model, self._masked, self._memory = model, type(model).__name__ == _MASKED, None

    def act(self, observation: Any, action_mask: Any) -> int:
        """The model's greedy action."""
        masks = {"action_masks": action_mask.copy()} if self._masked else {}
        seen = {k: v.copy() for k, v in observation.items()} if isinstance(observation, dict) else observation.copy()
        action, self._memory = self.model.predict(seen, self._memory, deterministic=True, **masks)
        return int(action)


def _by_batch(policy: Any) -> Any:
    """One question to a policy that answers many at once."""

    def ask(observation: Any, mask: Any) -> Any:
        one = {k: v[None] for k, v in observation.items()} if isinstance(observation, dict) else observation[None]
        chosen = list(policy.act_batch(one, mask[None]))
        return chosen[0] if len(chosen) == 1 else None

    return ask


def _fault(error: BaseException, file: str) -> dict[str, Any]:
    """What was raised, in one line, and the line of the policy's file that led to it."""
    text = " ".join((error.msg if isinstance(error, SyntaxError) else str(error)).split())  # the line is told beside it
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == file else None
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    plain = text if isinstance(error, LookupError) and type(error) is LookupError else ""
    text = plain or (f"{type(error).__name__}: {text}" if text else type(error).__name__)
    return {
        "text": text[:1500],
        "line": line or (lines[-1] if lines else None),
        "import": isinstance(error, ImportError),
    }


if __name__ == "__main__":
    main()
