"""Runs all benchmarks on every installed backend, on an otherwise idle machine: `python -m benchmarks`.

Arguments (`--backends`, `--out`) are passed on to each of the scripts below. `fit_costs.py`, whose prices go
into the package, is run by itself.
"""

import subprocess
import sys

BFLOAT16 = ("--precision", "mixed_bfloat16")
RUNS = (
    ("layers",),
    ("layers", "--order", "2"),
    ("layers", *BFLOAT16),
    ("networks",),
    ("networks", "--first-step"),
    ("networks", *BFLOAT16),
    ("first_step",),
    ("long_run",),
    ("sharing",),
    ("growth",),
    ("bounds",),
    ("enlarged",),
)

for name, *options in RUNS:
    print(f"\n{name}.py", *options, flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options, *sys.argv[1:]], check=True)
