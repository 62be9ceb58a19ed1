"""The README's Python runs as it stands, and the commands it shows exist."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run_one_after_another(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert float(capsys.readouterr().out) >= 1.0  # a mean bounded slowdown


def test_the_commands_it_shows_are_commands():
    from typer.main import get_command

    from sysgym.cli import app

    known = get_command(app).commands
    shown = set(re.findall(r"^sysgym (\w+)", README.read_text(), re.MULTILINE))
    assert shown and shown <= known.keys()
