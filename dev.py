"""Sets up everything in `.venv` and runs an example, the tests or the documentation; needs only Python ≥ 3.11.

python3 dev.py example      # the main example, on scikit-learn's digits and the backend that KERAS_BACKEND names
python3 dev.py test         # ruff, mypy, and the tests on TensorFlow, JAX and torch (further arguments go to pytest)
python3 dev.py docs         # the documentation, on a port of this machine (further arguments go to mkdocs serve)
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
RESULTS = ROOT / "results"  # which git ignores
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
BACKENDS = ("tensorflow", "jax", "torch")
IN_PARALLEL = ("--numprocesses", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal")  # most time is compiling


def main():
    task, *arguments = sys.argv[1:] or [""]
    if task == "example":
        backend = os.environ.get("KERAS_BACKEND", "jax")
        set_up(f"{backend},examples")
        RESULTS.mkdir(exist_ok=True)
        run(str(ROOT / "examples" / "learn_resolution.py"), *arguments, folder=RESULTS, backend=backend)
    elif task == "test":
        set_up("tensorflow,jax,torch,dev")
        run("-m", "ruff", "check", ".")
        run("-m", "ruff", "format", "--check", ".")
        run("-m", "mypy")
        for backend in BACKENDS:
            print(f"\n=== tests on {backend}", flush=True)
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as cache:
                run("-m", "pytest", *IN_PARALLEL, *arguments, backend=backend, **compiling_less(cache))
            print(f"=== {backend}: {time.monotonic() - start:.0f} s", flush=True)
    elif task == "docs":
        set_up("docs")
        run("-m", "mkdocs", "serve", *arguments)
    else:
        sys.exit(__doc__)


def compiling_less(cache):
    """Has XLA compile quickly rather than well, and JAX share what it has compiled; each process has one thread."""
    return {
        "OMP_NUM_THREADS": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }


def set_up(extras):
    """Creates the virtual environment and installs the package with the given extras in it."""
    if not PYTHON.exists():
        print(f"creating {ENVIRONMENT}", flush=True)
        try:
            venv.create(ENVIRONMENT, with_pip=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(ENVIRONMENT)
            sys.exit("Python can't install pip: on Debian and Ubuntu, install the package python3-venv")
    print(f"installing keras-njet[{extras}]", flush=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", "constraints.txt"]
    run(*install, "--no-compile", "-e", f".[{extras}]")  # Python compiles what is imported, a small part of it


def run(*arguments, folder=ROOT, backend=None, **variables):
    """Runs the environment's Python in a folder, and ends this process if it fails."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2", **variables)
    if backend is not None:
        environment["KERAS_BACKEND"] = backend
    done = subprocess.run([str(PYTHON), *arguments], cwd=folder, env=environment)
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
