"""`scripts/k8s`: renders the manifests and makes the chart, or applies both to a real API server."""

from __future__ import annotations

import argparse
import sys

from tests.deploy.chart.make import write
from tests.deploy.manifests import CHART_SOURCE, DIGEST_FILE, OVERLAYS, RENDERED, SOURCES, digest_of_sources
from tests.deploy.tools import CACHE, ToolError, run, tool


def render() -> int:
    """Write what kustomize makes of each overlay, the hash of what it made it from, and the chart made of that."""
    kustomize = tool("kustomize")
    RENDERED.mkdir(exist_ok=True)
    for path in RENDERED.glob("*.yaml"):
        path.unlink()
    for name, folder in {**{name: SOURCES / "overlays" / name for name in OVERLAYS}, "chart": CHART_SOURCE}.items():
        (RENDERED / f"{name}.yaml").write_text(run([kustomize, "build", folder]), encoding="utf-8")
    DIGEST_FILE.write_text(digest_of_sources() + "\n")
    print(f"rendered {', '.join(OVERLAYS)}")
    print(f"chart: {', '.join(write())}")
    return 0


def main() -> int:
    """Run one of the two; exit code 0, or 1 with the reason."""
    parser = argparse.ArgumentParser(prog="scripts/k8s", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("render", "validate"), default="validate")
    parser.add_argument("--keep", action="store_true", help="validate: keep the folder with logs and certificates")
    arguments = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.action == "render":
            return render()
        from tests.deploy.validate import validate

        return validate(keep=arguments.keep)
    except (ToolError, OSError) as error:
        print(f"scripts/k8s: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
