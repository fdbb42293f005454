"""What is built carries all that is needed: a wheel unpacked far from the checkout plans nets and finds its kernels."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel made from that sdist as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    hatchling(ROOT, "-t", "sdist", "-d", folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = (path for path in folder.iterdir() if path.is_dir())
    hatchling(source, "-t", "wheel", "-d", folder)
    return folder


def hatchling(where: Path, *arguments: object) -> None:
    command = [sys.executable, "-m", "hatchling", "build", *map(str, arguments)]
    result = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def unpacked(built: Path, tmp_path: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    return tmp_path / "site"


def run(site: Path, code: str) -> str:
    """What `code` prints where only the unpacked wheel provides gpunet."""
    preamble = f"import sys; sys.path[:] = [{str(site)!r}] + [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
    result = subprocess.run([sys.executable, "-I", "-c", preamble + code], cwd=site, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_carries_kernels_configs_and_data(built: Path, tmp_path: Path) -> None:
    site = unpacked(built, tmp_path)
    for inside, beside, pattern in (("_cuda", "cuda", "*.cu*"), ("_configs", "configs", "*.toml")):
        expected = {path.name: path.read_bytes() for path in (ROOT / beside).glob(pattern)}
        assert expected
        assert {path.name: path.read_bytes() for path in (site / "gpunet" / inside).iterdir()} == expected
    browser = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "gpunet" / "browser").rglob("*.*")}
    assert len(browser) > 30 and all((site / name).read_bytes() == content for name, content in browser.items())
    page = {path.relative_to(ROOT): path.read_bytes() for path in (ROOT / "gpunet" / "live" / "page").rglob("*.*")}
    assert len(page) > 15 and all((site / name).read_bytes() == content for name, content in page.items())
    assert (site / "gpunet/data/digits.npz").read_bytes() == (ROOT / "gpunet/data/digits.npz").read_bytes()
    assert (site / "gpunet/devices/cards.toml").read_bytes() == (ROOT / "gpunet/devices/cards.toml").read_bytes()
    assert (site / "gpunet/py.typed").exists()


def test_the_unpacked_wheel_plans_and_finds_its_files(built: Path, tmp_path: Path) -> None:
    code = (
        "import gpunet\n"
        "from gpunet.system import resources\n"
        "print(gpunet.__file__)\n"
        "print(gpunet.plan(gpunet.load('vgg16'), batch=1, gpu='rtx 3060').arena_bytes)\n"
        "print(resources.config_names())\n"
        "print('max_pool_forward' in resources.kernel_source('pool.cu'), resources.data_path('digits.npz').is_file())\n"
    )
    site = unpacked(built, tmp_path)
    where, arena, names, found = run(site, code).splitlines()
    assert where.startswith(str(site))
    assert int(arena) > 138_357_544 * 8
    assert names == str(sorted(path.stem for path in (ROOT / "configs").glob("*.toml")))
    assert found == "True True"


def test_a_checkout_uses_its_own_files(tmp_path: Path) -> None:
    code = "from gpunet.system import resources; print(resources.config_path('vgg16'))"
    assert run(ROOT, code).strip() == str(ROOT / "configs" / "vgg16.toml")


def packages(extra: str) -> set[str]:
    """The packages that an extra brings, without versions, through other extras too."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: set[str] = set()
    for requirement in extras[extra]:
        name, inner = re.match(r"([\w-]+)(?:\[(\w+)\])?", requirement).groups()
        found |= packages(inner) if name == "gpunet" else {name}
    return found


def test_an_extra_that_goes_with_every_gpu_brings_no_cupy_of_its_own() -> None:
    for extra in ("test", "dev", "plot", "zig"):
        assert not {name for name in packages(extra) if "cupy" in name or "nvrtc" in name}
    for extra in ("cuda12", "cuda13", "nvrtc"):
        assert len([name for name in packages(extra) if name.startswith("cupy")]) == 1
    assert packages("dev") >= packages("test") >= packages("plot")
    assert "TEST_EXTRAS := test$(comma)nvrtc" in (ROOT / "Makefile").read_text()


def test_the_version_is_said_once(built: Path) -> None:
    import gpunet

    assert [path.name for path in built.glob("*.whl")] == [f"gpunet-{gpunet.__version__}-py3-none-any.whl"]
