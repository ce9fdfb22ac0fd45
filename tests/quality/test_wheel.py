"""The wheel of this tree, installed as a user installs it: the README, the page on own videos, the notebook.

Each environment is made here, by pip. Nothing of the environment that runs the tests is used.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "build", "dist", "out", "site", "*.egg-info", "__pycache__"
)
CONSTRAINED = ["--constraint", str(ROOT / "constraints.txt")]
EXTRA = shlex.split(os.environ.get("PIP_EXTRA", ""))
TORCH = shlex.split(os.environ.get("TORCH", ""))  # the build of torch that the Makefile was given
BLOCK = re.compile(r"(<!-- not run: [^>]+-->\s*)?```(\w+)\n(.*?)```", re.DOTALL)


class Environment:
    """A fresh virtual environment.

    Args:
        folder: to make it in.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / "bin"

    def run(self, *command: str, cwd: Path) -> str:
        """Run a program of the environment; returns both of its outputs."""
        hidden = {"PYTHONPATH", "VIRTUAL_ENV"}
        variables = {name: value for name, value in os.environ.items() if name not in hidden}
        variables |= {"PATH": f"{self.bin}{os.pathsep}{variables['PATH']}", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd,
            env=variables,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
        return done.stdout

    def install(self, *packages: str) -> None:
        """Install packages by pip."""
        self.run("python", "-m", "pip", "install", "--quiet", *EXTRA, *packages, cwd=self.bin)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The wheel and the source distribution, checked as an index would."""
    folder = tmp_path_factory.mktemp("build")
    shutil.copytree(ROOT, folder / "tree", ignore=LEFT_OUT)
    tools = Environment(folder / "tools")
    tools.install("build", "twine")
    tools.run("python", "-m", "build", "--outdir", str(folder / "dist"), cwd=folder / "tree")
    files = sorted((folder / "dist").iterdir())
    tools.run("python", "-m", "twine", "check", "--strict", *map(str, files), cwd=folder)
    return files


@pytest.fixture(scope="module")
def fresh(built: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel, its extra `train`, and Jupyter's way to run a notebook."""
    environment = Environment(tmp_path_factory.mktemp("fresh"))
    (wheel,) = (file for file in built if file.suffix == ".whl")
    environment.install(f"vega3d[train] @ {wheel.as_uri()}", *TORCH, *CONSTRAINED)
    for line in install_lines():
        environment.run("python", "-m", *line, *EXTRA, cwd=environment.bin)
    environment.install("nbclient", "ipykernel", "tensorboard")
    return environment


def install_lines() -> list[list[str]]:
    """The lines of the README that install something beside torch and vega3d."""
    install = next(code for code in code_of("README.md", "bash") if "pip install" in code)
    lines = [shlex.split(line, comments=True) for line in install.splitlines()]
    return [line for line in lines if line and not line[-1].startswith(("torch==", ".", "vega3d"))]


def code_of(page: str, kind: str) -> list[str]:
    """Blocks of a page that are run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [code for skipped, found, code in BLOCK.findall(text) if found == kind and not skipped]


def test_the_wheel_holds_the_package_with_its_models_and_no_tests(built: list[Path]) -> None:
    (wheel,) = (file for file in built if file.suffix == ".whl")
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("py.typed", "pico/host/config.json", "hosts/hosts.json", "backbones/wan/shapes.json"):
        assert f"vega3d/{name}" in names
    assert not [name for name in names if name.split("/")[0] not in ("vega3d", names[-1].split("/")[0])]


def test_the_first_lines_of_the_readme_run_from_the_wheel(fresh: Environment, tmp_path: Path) -> None:
    (code, *_) = code_of("README.md", "python")
    (tmp_path / "readme.py").write_text(code)
    assert fresh.run("python", "readme.py", cwd=tmp_path).strip()
    place = fresh.run("python", "-c", "import vega3d; print(vega3d.__file__)", cwd=tmp_path)
    assert str(fresh.bin.parent) in place


def test_the_page_on_own_videos_runs_from_the_wheel(fresh: Environment, tmp_path: Path) -> None:
    page = "docs/own_data.md"
    fresh.run("python", "-c", code_of(page, "python")[0], cwd=tmp_path)
    (tmp_path / "qa.json").write_text(code_of(page, "json")[0])
    for block in code_of(page, "console"):
        command, *expected = block.splitlines()
        shown = fresh.run(*shlex.split(command)[1:], cwd=tmp_path).splitlines()
        if " ask " not in command:
            assert [line for line in expected if line not in shown] == []
    assert "run.yaml" in {path.name for path in tmp_path.iterdir()}


def test_the_notebook_runs_in_jupyter(fresh: Environment, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "own_videos.ipynb", tmp_path)
    fresh.run("jupyter-execute", "--inplace", "own_videos.ipynb", cwd=tmp_path)
    assert "step 3: 'How many desks are there?'" in (tmp_path / "own_videos.ipynb").read_text("utf-8")


def test_tensorboard_gets_the_values_of_a_run(fresh: Environment, tmp_path: Path) -> None:
    page = "docs/own_data.md"
    fresh.run("python", "-c", code_of(page, "python")[0], cwd=tmp_path)
    (tmp_path / "qa.json").write_text(code_of(page, "json")[0])
    fresh.run("vega3d", "init", "my/videos", "qa.json", cwd=tmp_path)
    fresh.run(
        "vega3d", "train", "run.yaml", "trainer.max_steps=1", "trainer.report_to=tensorboard", cwd=tmp_path
    )
    assert list((tmp_path / "out" / "run").rglob("events.out.tfevents.*"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one extra of all is for Linux")
def test_all_extras_can_be_installed_together(built: list[Path], tmp_path: Path) -> None:
    (wheel,) = (file for file in built if file.suffix == ".whl")
    environment = Environment(tmp_path / "all")
    command = ["-m", "pip", "install", "--dry-run", "--quiet", *EXTRA, *TORCH, *CONSTRAINED]
    environment.run("python", *command, f"vega3d[all] @ {wheel.as_uri()}", cwd=tmp_path)
