"""What every tutorial runs first: an empty folder to work in, and a `%%bash` whose output can be shown on a page.

IPython's own `%%bash` hands output over in pieces of a hundred bytes, which a page then shows as lines.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

from IPython.core.magic import register_cell_magic

os.chdir(tempfile.mkdtemp())
os.environ.pop("FORCE_COLOR", None)  # the kernel of a notebook asks for colours, which a page cannot show


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Run a cell in bash, show what it wrote, and fail where it fails."""
    done = subprocess.run(
        ["bash", "-ec", cell], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    print(done.stdout, end="")
    done.check_returncode()
