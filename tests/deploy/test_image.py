"""What goes into the image: the packages that the tests run with, by hash, and a user that is not root."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import REPOSITORY, pod_of, rendered

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
FINAL = DOCKERFILE.rpartition("\nFROM ")[2]


def locked(name: str) -> dict[str, str]:
    text = (REPOSITORY / "requirements" / name).read_text()
    assert text.count("--hash=sha256:") >= len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) > 0
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def test_the_image_has_the_packages_that_the_tests_run_with() -> None:
    image, dev = locked("image.txt"), locked("dev.txt")
    assert image.items() <= dev.items(), "requirements/image.txt and requirements/dev.txt differ: lock both again"
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[^a-z0-9._-]", line)[0] for line in wanted} <= set(image)
    assert not {"cython", "pytest", "mypy", "ruff"} & set(image)


def test_what_builds_the_image_is_locked_too() -> None:
    assert {"pip", "build", "setuptools", "cyclonedx-bom", "cython", "mypy"} <= set(locked("image-build.txt"))
    assert len(re.findall(r"pip (?:install|wheel) [^\n]*--require-hashes", DOCKERFILE)) == 2
    assert DOCKERFILE.count("--no-deps --no-index") == len(re.findall(r"pip \S*.*\binstall .*\.whl", DOCKERFILE)) == 2


def test_what_compiles_the_product_is_what_its_tests_are_compiled_with() -> None:
    tools, image, dev = locked("image-build.txt"), locked("image.txt"), locked("dev.txt")
    # Tools and packages are side by side in one environment while it is compiled.
    for name in tools.keys() & (image.keys() | {"cython", "mypy", "librt", "setuptools"}):
        assert tools[name] == dev[name], f"{name}: lock requirements/image-build.txt again"


def test_the_product_is_compiled_and_its_compiler_stays_behind() -> None:
    build = DOCKERFILE.removesuffix(FINAL)
    assert re.search(r"^ && COMPILE=\$compile \S+/python -m build --wheel", build, re.MULTILINE)
    assert re.search(r"apt-get install [^\n]*--no-install-recommends gcc libc6-dev", build)
    assert re.findall(r"^COPY --from=build (\S+)", FINAL, re.MULTILINE) == ["/opt/tes"]


@pytest.mark.parametrize(
    ("given", "compiles"),
    [((), "1"), (("x{}",), "0"), (("a.cpython-309-x86_64-linux-gnu.so",), "1"), (("b{}", "x{}"), "0")],
    ids=["nothing", "modules that fit", "those of another Python", "several"],
)
def test_it_is_compiled_unless_modules_are_mounted_that_this_python_can_load(
    given: tuple[str, ...], compiles: str, tmp_path: Path
) -> None:
    for name in given:
        (tmp_path / name.format(sysconfig.get_config_var("EXT_SUFFIX"))).touch()
    (choice,) = re.findall(r"^RUN (set -- /build/compiled/.*?) \\\n && COMPILE=", DOCKERFILE, re.MULTILINE | re.DOTALL)
    script = choice.replace("/build/compiled", str(tmp_path)).replace("python3", sys.executable) + ' && echo "$compile"'
    assert subprocess.run(["sh", "-ec", script], check=True, capture_output=True, text=True).stdout == f"{compiles}\n"


def test_the_base_is_an_argument_of_both_stages() -> None:
    assert re.search(r"^ARG TES_IMAGE_BASE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${TES_IMAGE_BASE}"] * 2
    script = (REPOSITORY / "scripts" / "image").read_text(encoding="utf-8")
    assert '--build-arg "TES_IMAGE_BASE=$base"' in script


def test_the_last_stage_runs_nothing_that_installs() -> None:
    for word in ("apt", "pip ", "gcc", "curl"):
        assert word not in FINAL


def test_the_user_is_a_number_and_that_of_the_pod() -> None:
    ((uid, gid),) = re.findall(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)
    security = pod_of(rendered("production"))["securityContext"]
    assert (int(uid), int(gid)) == (security["runAsUser"], security["runAsGroup"])


def test_the_pod_gives_arguments_to_the_entry_point() -> None:
    assert 'ENTRYPOINT ["tes"]' in FINAL
    (container,) = pod_of(rendered("production"))["containers"]
    assert container["args"] == ["worker"]
    assert "command" not in container


@pytest.mark.parametrize(
    "name",
    [
        *("pyproject.toml", "setup.py", "build_backend.py", "compiled.txt", "README.md", "LICENSE"),
        *("docs/reference/tes.1", "streams", "schemas"),
    ],
)
def test_what_the_image_is_made_from_is_not_ignored(name: str) -> None:
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert f"!{name}" in lines
    assert re.search(rf"^COPY .*\b{re.escape(name)}\b", DOCKERFILE, re.MULTILINE)
