"""Runs all benchmarks on every installed backend, on an otherwise idle machine: `python -m benchmarks`.

Arguments (`--backends`, `--out`) are passed on to each of the scripts below. `fit_costs.py`, whose prices go
into the package, is run by itself.
"""

import subprocess
import sys

for name in ("layers", "nin", "first_step", "sharing", "growth", "bounds"):
    print(f"\n{name}.py", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
