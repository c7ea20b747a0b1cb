"""Looks up what is installed among known vulnerabilities: `make audit`.

pip-audit asks two databases for each package. A package that none of them answers for (no network, or a
mirror that knows the package but not its advisories, which pip-audit counts as no vulnerability) is compared
with a list that is kept by hand, `docs/audit.json`: its version must be one that was looked at, and no older
than those that mended what was known then. Fails where anything is found, or not on the list.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import Version

ROOT = Path(__file__).parents[1]
LIST, PINS = ROOT / "docs" / "audit.json", ROOT / "constraints.txt"
TOOL, SERVICES = "pip-audit==2.10.1", ("osv", "pypi")
SECONDS = 600
"""How long one database may take for all packages."""

Versions = Mapping[str, str]


def plain(name: str) -> str:
    """A package's name as indexes write it.

    >>> plain("Jinja2"), plain("import_linter")
    ('jinja2', 'import-linter')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """Versions by package, without our own and without the local part (`+cpu`)."""
    found = {
        plain(each.metadata["Name"]): each.version.partition("+")[0] for each in metadata.distributions()
    }
    found.pop("espalier", None)
    return dict(sorted(found.items()))


def ask(versions: Versions, service: str) -> dict[str, Any] | None:
    """pip-audit's report by one database, or None if there is none."""
    with tempfile.TemporaryDirectory() as place:
        wanted, told = Path(place) / "wanted.txt", Path(place) / "told.json"
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
        command = [
            *(sys.executable, "-m", "uv", "tool", "run", "--quiet", TOOL, "--requirement", str(wanted)),
            *("--no-deps", "--disable-pip", "--progress-spinner=off", f"--vulnerability-service={service}"),
            *("--format=json", f"--output={told}"),
        ]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
            return json.loads(told.read_text())
        except (OSError, ValueError, subprocess.SubprocessError):
            return None


def looked_up(report: Mapping[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """The vulnerabilities of each package that a report says anything of: of skipped ones it does not."""
    packages = report["dependencies"] if report else []
    return {plain(each["name"]): each["vulns"] for each in packages if "vulns" in each}


def known(found: Mapping[str, list[dict[str, Any]]], versions: Versions, accepted: Versions) -> list[str]:
    """A line for each vulnerability that is not accepted, by the package's name or one of its own."""
    lines = list[str]()
    for name, each in ((name, each) for name, vulnerabilities in found.items() for each in vulnerabilities):
        names = {name, each["id"], *each.get("aliases", ())}
        if not names & accepted.keys():
            mended = ", ".join(each.get("fix_versions", ())) or "no version yet"
            lines.append(f"{name} {versions[name]}: {each['id']}, mended in {mended}")
    return lines


def unlisted(versions: Versions, listed: Mapping[str, Any]) -> list[str]:
    """A line for each version that is not on the list, or older than what mends a vulnerability."""
    lines = list[str]()
    for name, version in versions.items():
        if name in listed["accepted"]:
            continue
        seen = listed["packages"].get(name, [])
        if version not in seen:
            told = f"the list has {', '.join(seen)}" if seen else "the package is not on the list"
            lines.append(f"{name} {version} was not looked at ({told})")
        lines += [
            f"{name} {version}: {advisory}, mended in {mended}"
            for advisory, mended in listed["mended_in"].get(name, {}).items()
            if Version(version) < Version(mended)
        ]
    return lines


def judge(versions: Versions, listed: Mapping[str, Any], reports: Mapping[str, Any]) -> tuple[str, list[str]]:
    """What was done, in words, and what is wrong.

    Args:
        versions: What is installed.
        listed: The list.
        reports: pip-audit's reports by database, as far as there are any.
    """
    found = dict[str, list[dict[str, Any]]]()
    for report in reports.values():
        for name, vulnerabilities in looked_up(report).items():
            found[name] = [*found.get(name, []), *vulnerabilities]
    rest = {name: version for name, version in versions.items() if name not in found}
    problems = [*known(found, versions, listed["accepted"]), *unlisted(rest, listed)]
    words = f"{len(found)} packages were looked up by pip-audit ({', '.join(reports)})"
    if rest:
        words += (
            f"; {len(rest)}, of which no database told anything, were compared with the list of "
            f"{listed['date']}, which knows what was known then"
        )
    return words, problems


def record(listed: dict[str, Any], versions: Versions) -> dict[str, Any]:
    """The list with what is pinned and installed now, of today."""
    packages = {name: {version} for name, version in versions.items()}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", PINS.read_text(), re.MULTILINE):
        packages.setdefault(plain(name), set()).add(version)
    known_now = {name: sorted(found) for name, found in sorted(packages.items())}
    for name in listed["accepted"]:
        known_now.pop(name, None)
    return {**listed, "date": f"{datetime.now(UTC):%Y-%m-%d}", "packages": known_now}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the list anew, once it was looked at")
    versions, listed = installed(), json.loads(LIST.read_text())
    if parser.parse_args().record:
        LIST.write_text(json.dumps(record(listed, versions), indent=2) + "\n")
        return
    words, problems = judge(versions, listed, {name: ask(versions, name) for name in SERVICES})
    print("\n".join([words, *problems]))  # noqa: T201
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
