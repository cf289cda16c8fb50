"""`make package`: builds dist/'s sdist and, from it, the wheel; checks what is in them; installs each into a fresh
environment without development tools, tries it there from another folder, with the oldest NumPy too, and states the
sizes. Where there is no compiler, or one without OpenMP, the installation must stop with a readable sentence."""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {".py", ".pyi", ".pyx", ".pxd", ".typed", ".c", ".h", ".def"}


def sources(folder):
    """The source files below that folder of the checkout, relative to the checkout."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.suffix in SOURCES}


def check_contents(sdist, wheel):
    """The sdist has every source and nothing built; the wheel has what runs and nothing else."""
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    needed = sources("csrc") | sources("fastconv") | sources("tests") | {"LICENSE", "README.md", "Makefile"}
    require(not needed - packed, f"the sdist lacks {sorted(needed - packed)}")
    built = sorted(name for name in packed if name.endswith((".so", ".o", ".pyc")) or name.startswith("build"))
    require(not built, f"the sdist has {built}")

    with zipfile.ZipFile(wheel) as archive:
        installed = {re.sub(r"\.[^./]*\.so$", ".so", name) for name in archive.namelist() if ".dist-info/" not in name}
        licence = any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    needed = {re.sub(r"\.pyx$", ".so", name) for name in sources("fastconv") if not name.endswith(".pxd")}
    require(installed == needed, f"the wheel differs from the sources in {sorted(installed ^ needed)}")
    require(licence, "the wheel has no LICENSE")


def require(condition, complaint):
    if not condition:
        sys.exit(f"make package: {complaint}")


def try_install(artifact):
    """Installs the artifact into a fresh environment and tries it from another folder."""
    with tempfile.TemporaryDirectory() as folder:
        print(f"\n{artifact.name}: into a fresh environment", flush=True)
        started = time.perf_counter()
        venv.create(folder, with_pip=True)
        python = str(Path(folder, "bin", "python"))
        run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", str(artifact), cwd=folder)
        print(f"installed in {time.perf_counter() - started:.0f} s")
        run(python, str(ROOT / "tools" / "smoke.py"), cwd=folder)
        if artifact.suffix == ".whl":
            run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", oldest_numpy(), cwd=folder)
            run(python, str(ROOT / "tools" / "smoke.py"), cwd=folder)
            print_sizes(artifact, next(Path(folder).glob("lib/*/site-packages/fastconv")))


def oldest_numpy():
    """The requirement that pins NumPy to the oldest version that pyproject.toml allows."""
    return "numpy==" + re.search(r'^dependencies = .*"numpy>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.M)[1]


WITHOUT = {
    "a compiler": ("exit 1", "fastconv is compiled when it is installed"),
    "OpenMP": ('case "$*" in *-fopenmp*) exit 1;; esac; exec gcc "$@"', "fastconv runs on all cores through OpenMP"),
}


def stop_without(what, sdist):
    """Installs where that is missing: CC is a script that stands for such a machine's compiler."""
    script, sentence = WITHOUT[what]
    with tempfile.TemporaryDirectory() as folder:
        compiler = Path(folder, "cc")
        compiler.write_text(f"#!/bin/sh\n{script}\n")
        compiler.chmod(0o755)
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, str(sdist)]
        environment = {**os.environ, "CC": str(compiler)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = " ".join(done.stdout.split())
    require(done.returncode != 0 and sentence in said, f"without {what}, pip says:\n{done.stdout[-3000:]}")
    print(f"\nwithout {what}: {said[said.index(sentence) :][:90]}...", flush=True)


def print_sizes(artifact, package):
    """What the artifact and the installed package take, libraries one by one."""
    files = {path: path.stat().st_size for path in package.rglob("*") if path.is_file()}
    compiled = sum(size for path, size in files.items() if path.suffix == ".pyc")
    for path, size in sorted(files.items(), key=lambda item: -item[1]):
        if path.suffix == ".so":
            print(f"  {size / 1e3:6.0f} KB  {path.relative_to(package)}")
    print(f"{artifact.name}: {artifact.stat().st_size / 1e6:.2f} MB; installed: "
          f"{(sum(files.values()) - compiled) / 1e6:.2f} MB and {compiled / 1e6:.2f} MB of bytecode")  # fmt: skip


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, cwd=cwd, env=environment, check=True)


def main():
    dist = ROOT / "dist"
    for old in dist.glob("fastconv-*"):
        old.unlink()
    print("sdist, and the wheel from it (a minute on two cores)", flush=True)
    log = ROOT / "build" / "package.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        command = [sys.executable, "-m", "build", "--outdir", str(dist), str(ROOT)]
        failed = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    require(not failed, f"the build failed:\n{log.read_text()[-3000:] if failed else ''}")
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    check_contents(sdist, wheel)
    for artifact in (wheel, sdist):
        try_install(artifact)
    for what in WITHOUT:
        stop_without(what, sdist)


if __name__ == "__main__":
    main()
