"""A study of the toy queue, in a folder of its own."""

import pytest

STUDY = """
name = "toy"
description = "Is the shortest job first?"
scenarios = 8

[[environments]]
name = "Toy queue"
id = "tests.bench.toy:Toy-v0"
arguments = {{ jobs = 30 }}

[[policies]]
policy = "first"

[[policies]]
policy = "shortest"

{extra}
"""


@pytest.fixture
def study(tmp_path):
    """Write the study, with more policies or tables at its end, and give its path."""

    def write(extra="", **changes):
        text = STUDY.format(extra=extra)
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "toy.toml"
        path.write_text(text)
        return path

    return write
