"""Builds the documents into a site: a folder for each version, and the list of versions. `scripts/docs` runs it."""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]
SETTINGS: Final = REPOSITORY / "docs" / "_site"
CACHE: Final = REPOSITORY / ".cache"
SITE: Final = CACHE / "site"
PICTURE: Final = REPOSITORY / "docs" / "images" / "overview.svg"

GROUPS: Final = (
    ("Start here", ("docs/path/try", "docs/path/observe", "docs/path/report", "docs/path/enforce")),
    ("All pages", ("docs/README",)),
    ("Concepts", ("docs/concepts/*",)),
    ("How to", ("docs/how-to/*",)),
    ("Reference", ("docs/reference/*", "schemas/README")),
    ("Runbooks", ("docs/runbooks/README", "docs/runbooks/Tes*")),
    ("The project", ("docs/architecture", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    ("Measured", ("benchmarks/*", "tests/fuzz/README", "examples/README", "streams/policies/data/README")),
    ("Decisions", ("docs/adr/*",)),
)
"""Headings of the navigation with the pages below them; a pattern takes all that it fits, by name."""
FILES: Final = (
    *("LICENSE", "schemas/registry.json", "schemas/*.avsc", "docs/images/*"),
    *("docs/reference/*.json", "docs/reference/*.yaml", "docs/reference/*.1"),
    *("examples/*/*.py", "examples/go/*/*.go", "examples/*/*.java", "examples/*/*.js"),
)
"""What pages link to and is no page."""

_OF_THE_HOST: Final = re.compile(r"^\[[^\]]+\]: \.\./\.\./(?:compare|commits)/.*\n?", re.MULTILINE)
"""Addresses in the change log of comparisons, which only the host of the repository has."""

# Colours of the picture, in light and in dark; the drawing itself has only classes.
STYLE: Final = """
text { fill: #1b1f24; stroke: none; }
path, polygon { stroke: #57606a; }
.part path { fill: #dbeafe; stroke: #1d4ed8; }
.topic path { fill: #fef3c7; stroke: #b45309; }
.outside path { fill: #f3f4f6; stroke: #57606a; }
.flow path { fill: none; }
.flow text { fill: #7d8590; }
.flow polygon { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  path, polygon { stroke: #9aa4af; }
  .part path { fill: #172554; stroke: #60a5fa; }
  .topic path { fill: #422006; stroke: #f59e0b; }
  .outside path { fill: #21262d; stroke: #9aa4af; }
  .flow text { fill: #7d8590; }
  .flow polygon { fill: #9aa4af; }
}
"""


def version() -> str:
    """The version of the product."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def gather(source: Path) -> None:
    """Copy the pages to where Sphinx reads them, with their paths in the repository, so that links hold."""
    shutil.rmtree(source, ignore_errors=True)
    contents = []
    for heading, patterns in GROUPS:
        pages = [page for pattern in patterns for page in sorted(REPOSITORY.glob(f"{pattern}.md"))]
        names = [page.relative_to(REPOSITORY).with_suffix("").as_posix() for page in pages]
        for name in names:
            text = (REPOSITORY / f"{name}.md").read_text(encoding="utf-8")
            target = source / f"{name}.md"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_OF_THE_HOST.sub("", text), encoding="utf-8")
        contents.append(
            "\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *dict.fromkeys(names), "```", ""])
        )
    for pattern in FILES:
        for path in REPOSITORY.glob(pattern):
            _copy(source, path.relative_to(REPOSITORY).as_posix())
    first = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (source / "README.md").write_text(f"{first}\n" + "\n".join(contents), encoding="utf-8")


def _copy(source: Path, name: str) -> None:
    target = source / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / name, target)


def build(source: Path, site: Path) -> Path:
    """Build the pages of a gathered folder; returns the folder of this version.

    Raises:
        subprocess.CalledProcessError: a link leads nowhere, or a page cannot be read; stderr has said which.
    """
    target, fresh = site / version(), site.with_name(f"{site.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html"]
    command += ["-c", str(SETTINGS), "-d", str(source.with_name(f"{source.name}-trees")), str(source), str(fresh)]
    subprocess.run(command, check=True, env=os.environ | {"TES_DOCS_VERSION": version()})
    _forward(fresh / "index.html", "README.html")
    shutil.rmtree(target, ignore_errors=True)
    site.mkdir(parents=True, exist_ok=True)
    fresh.rename(target)
    write_versions(site)
    return target


def write_versions(site: Path) -> list[str]:
    """List the versions that a site has, newest first, in its `versions.json`; its first page leads to the newest."""
    found = [path.parent.name for path in site.glob("*/index.html")]
    found.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)], reverse=True)
    (site / "versions.json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    if found:
        _forward(site / "index.html", f"{found[0]}/index.html")
    return found


def _forward(page: Path, to: str) -> None:
    to = html.escape(to)
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><title>tes</title><meta http-equiv="refresh" content="0; url={to}">'
        f'<a href="{to}">{to}</a>\n',
        encoding="utf-8",
    )


def mark_of_picture() -> str:
    """What the picture bears of what it was drawn from."""
    drawn_from = PICTURE.with_suffix(".dot").read_bytes() + STYLE.encode()
    return f"<!-- drawn from {hashlib.sha256(drawn_from).hexdigest()} -->"


def draw_picture() -> None:
    """Draw the picture by graphviz, and give its classes their colours."""
    dot = PICTURE.with_suffix(".dot")
    drawn = subprocess.run(["dot", "-Tsvg", str(dot)], check=True, capture_output=True, text=True).stdout
    drawn = re.sub(r"<!--.*?-->\n?", "", drawn[drawn.index("<svg") :], flags=re.DOTALL)
    drawn = re.sub(r'(<(?:path|polygon|text)[^>]*?) fill="[^"]*"', r"\1", drawn)
    drawn = re.sub(r'(<(?:path|polygon|text)[^>]*?) stroke="[^"]*"', r"\1", drawn)
    head, tail = drawn.split(">", 1)
    PICTURE.write_text(f"{head}>\n{mark_of_picture()}\n<style>{STYLE}</style>{tail}", encoding="utf-8")


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=SITE, help="folder of the site (default: .cache/site)")
    parser.add_argument("--serve", action="store_true", help="serve it on loopback until Ctrl-C")
    parser.add_argument("--port", type=int, default=8000, help="where it is served (%(default)s)")
    parser.add_argument("--picture", action="store_true", help="only draw the picture anew")
    arguments = parser.parse_args()
    if arguments.picture:
        draw_picture()
        return 0
    source = CACHE / "site-source"
    gather(source)
    try:
        target = build(source, arguments.out)
    except subprocess.CalledProcessError:
        print("docs: the lines above say what is broken", file=sys.stderr)
        return 1
    print(f"docs: {target}", file=sys.stderr)
    if arguments.serve:
        handler = partial(SimpleHTTPRequestHandler, directory=str(arguments.out))
        with ThreadingHTTPServer(("127.0.0.1", arguments.port), handler) as server:
            print(f"http://127.0.0.1:{server.server_address[1]}/", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("docs: ended", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
