"""Lint the chart and print its objects, as `helm template` would, by the Helm library that requirements.txt brings.

`python render.py VALUES.yaml`, or `-` for values on stdin. Exits with 1 and Helm's own words where it finds fault.
"""

import sys
from pathlib import Path

import helm_python

CHART = Path(__file__).parent / "llm-saas-backend"
WARNING = 2


def main(source: str) -> str:
    text = sys.stdin.read() if source == "-" else Path(source).read_text()
    values = helm_python.values_from_yaml(text)
    with helm_python.Chart.load(CHART) as chart:
        manifests = chart.render(values, name="demo", namespace="llm")
    found = [one for one in helm_python.lint(CHART, values, strict=True)["messages"] if one["severity"] >= WARNING]
    if found:
        raise SystemExit("\n".join(f"{one['path']}: {one['error']}" for one in found))
    return "\n".join(
        f"---\n# {name}\n{manifest}" for name, manifest in sorted(manifests.items()) if name.endswith(".yaml")
    )


if __name__ == "__main__":
    try:
        print(main(sys.argv[1]))
    except helm_python.HelmError as error:
        sys.exit(str(error))
