"""Settings of the documentation: `make docs` builds it, and runs every tutorial while it does.

A page for each environment is written from the docstring of its class, for whatever the registry holds; nothing is
written by hand twice.
"""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path

import gymnasium as gym

import sysgym
from sysgym.bench.environments import class_of

HERE = Path(__file__).parent
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # tutorials call `sysgym`
os.environ.setdefault("COLUMNS", "100")

project = "sysgym"
author = "the sysgym authors"
release = sysgym.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "sysgym"
html_show_copyright = html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header", "config.cache"]  # an environment's page begins with the heading of its docstring

nb_execution_mode = "cache"  # a tutorial whose cells are as they were is not run again
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "imported-members": True}
napoleon_google_docstring = True
napoleon_use_ivar = True  # a field that a docstring describes is not described a second time


def write_environment_pages() -> None:
    """One page an id into `environments/`, and an index of them."""
    folder = HERE / "environments"
    folder.mkdir(exist_ok=True)
    rows = []
    for env_id in sorted(known for known in gym.registry if known.startswith("sysgym/")):
        maker, name = class_of(env_id), env_id.removeprefix("sysgym/")
        text = inspect.cleandoc(maker.__doc__)
        summary, _, rest = text.partition("\n")
        heuristics = ", ".join(f"`{known}`" for known in maker.heuristics)
        page = f"""# {name}

{summary}

```python
env = gymnasium.make("{env_id}")
```

Objective: `{maker.objective}` ({maker.direction}). Heuristics that come with it: {heuristics}; doing nothing is
`{maker.do_nothing}`.
{rest}
"""
        write_if_new(folder / f"{name}.md", page)
        rows.append(f"| [{name}]({name}.md) | {summary} |")
    names = "\n".join(sorted(path.stem for path in folder.glob("*-v*.md")))
    index = f"""# Environments

Every page is the docstring of the class that `gymnasium.make` builds, with the tests that validate it.

| id | task |
|---|---|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{names}
```
"""
    write_if_new(folder / "index.md", index)


def write_if_new(path: Path, text: str) -> None:
    """Leave a page alone that says the same already, so that a second build has nothing to do."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


write_environment_pages()
