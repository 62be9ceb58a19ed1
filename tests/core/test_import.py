import subprocess
import sys

HEAVY = ("torch", "pandas", "numba", "scipy", "matplotlib", "simpy", "pydantic", "typer", "rich", "sysgym.agents")


def test_importing_sysgym_loads_gymnasium_and_numpy_alone():
    program = f"import sys, sysgym; print([m for m in {HEAVY} if m in sys.modules]); print('gymnasium' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["[]", "True"]
