"""Builds wheel and sdist, and looks at both as somebody does who installs them.

`python tests/packaging/check.py`, with Python 3.10 or newer; needs git, and the index that pip
installs from. It installs into a temporary folder only.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ("build", "mypy", "pyright", "twine")
# Of use in a checkout only.
LEFT_OUT = (".ci/", ".git", ".readthedocs")
MOST_DISTRIBUTIONS = 9
MOST_BYTES = 4_000_000
# Counts the installed files of each distribution; what pip compiles itself is not part of them.
MEASURE = """
import importlib.metadata, json
print(json.dumps({
    one.metadata["Name"]: sum(
        file.locate().stat().st_size
        for file in one.files if file.suffix != ".pyc" and file.locate().exists()
    )
    for one in importlib.metadata.distributions()
    if one.metadata["Name"] not in ("pip", "setuptools")
}))
"""
IMPORT = """
import importlib.metadata, importlib.resources
import cloudllm_sync, cloudllm_sync.testing
assert importlib.resources.files("cloudllm_sync").joinpath("py.typed").is_file()
assert importlib.metadata.version("cloudllm-sync") == cloudllm_sync.__version__
"""
STRICT = {
    "include": ["api.py"],
    "typeCheckingMode": "strict",
    "reportUnnecessaryTypeIgnoreComment": "error",
}


def ran(*command: object, cwd: pathlib.Path = ROOT) -> str:
    """The output of a command; all of it is shown if it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, text=True, capture_output=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n")
        raise SystemExit(f"FAILED: {' '.join(map(str, command[:4]))} ...")
    return done.stdout


def same(expected: set[str], found: set[str], what: str) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing or extra:
        raise SystemExit(f"FAILED: {what}: missing {missing}, should not be there {extra}")
    print(f"{what}: {len(found)} files")


def environment(folder: pathlib.Path, *packages: object) -> pathlib.Path:
    """A fresh one with these packages; gives its folder of programs."""
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    ran(programs / "python", "-m", "pip", "install", "--quiet", *packages)
    return programs


def held_files(scratch: pathlib.Path) -> set[str]:
    """What git holds, or would; also where the checkout has no .git any more."""
    git = ("git", "--git-dir", scratch / "git", "--work-tree", ROOT)
    ran("git", "init", "--quiet", "--bare", scratch / "git")
    listed = ran(*git, "ls-files", "-z", "--others", "--exclude-standard")
    return {name for name in listed.split("\0") if name}


def built(held: set[str], programs: pathlib.Path, scratch: pathlib.Path) -> list[pathlib.Path]:
    """The sdist of a fresh copy, and the wheel made of that sdist."""
    for name in held:
        target = scratch / "copy" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    ran(programs / "python", "-m", "build", "--outdir", scratch / "dist", scratch / "copy")
    files = sorted(scratch.joinpath("dist").iterdir(), key=lambda path: path.suffix)
    ran(programs / "twine", "check", "--strict", *files)
    print("twine check:", *(f"{path.name} ({path.stat().st_size:,} bytes)" for path in files))
    return files


def check_contents(held: set[str], sdist: pathlib.Path, wheel: pathlib.Path) -> None:
    with tarfile.open(sdist) as archive:
        members = [member.name for member in archive.getmembers() if member.isfile()]
    inside = {name.partition("/")[2] for name in members}
    wanted = {name for name in held if not name.startswith(LEFT_OUT)}
    same(wanted, {name for name in inside if "egg-info" not in name} - {"PKG-INFO"}, "sdist")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    folder = next(name.partition("/")[0] for name in names if ".dist-info/" in name)
    about = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE", "top_level.txt"}
    if "[options.entry_points]" in ROOT.joinpath("setup.cfg").read_text(encoding="utf-8"):
        about.add("entry_points.txt")
    package = {name for name in held if name.startswith("cloudllm_sync/")}
    same(package | {f"{folder}/{name}" for name in about}, set(names), "wheel")


def check_size(programs: pathlib.Path) -> None:
    """What `pip install cloudllm-sync` brings."""
    sizes = json.loads(ran(programs / "python", "-c", MEASURE))
    total = sum(sizes.values())
    print(f"pip install: {len(sizes)} distributions, {total:,} bytes: {', '.join(sorted(sizes))}")
    if len(sizes) > MOST_DISTRIBUTIONS or total > MOST_BYTES:
        raise SystemExit(f"FAILED: at most {MOST_DISTRIBUTIONS}, {MOST_BYTES:,} bytes: {sizes}")


def check_types(programs: pathlib.Path, tools: pathlib.Path, scratch: pathlib.Path) -> None:
    """As mypy and pyright see the installed package from another folder."""
    outside = scratch / "outside"
    outside.mkdir()
    shutil.copy(ROOT / "tests/typing/api.py", outside)
    outside.joinpath("pyrightconfig.json").write_text(json.dumps(STRICT))
    python = programs / "python"
    mypy = (tools / "mypy", "--strict", "--python-executable", python, "api.py")
    print("mypy:", ran(*mypy, cwd=outside).strip())
    print("pyright:", ran(tools / "pyright", "--pythonpath", python, cwd=outside).strip())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = pathlib.Path(folder).resolve()
        tools = environment(scratch / "tools", *TOOLS)
        held = held_files(scratch)
        sdist, wheel = built(held, tools, scratch)
        check_contents(held, sdist, wheel)
        programs = environment(scratch / "fresh", wheel)
        check_size(programs)
        ran(programs / "python", "-W", "error", "-c", IMPORT, cwd=scratch)
        ran(programs / "python", "-m", "pip", "install", "--quiet", f"{wheel}[redis,sql]")
        check_types(programs, tools, scratch)
    print("All well")


if __name__ == "__main__":
    main()
