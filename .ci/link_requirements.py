"""Link what a distribution requires, and nothing else, from one environment to another.

``python .ci/link_requirements.py build/dist/*.whl FOLDER``, run by the Python of an
environment that has it all, fills FOLDER with links to the packages that the wheel's
metadata asks for, and those that these ask for. An environment that has FOLDER on its
path is then as if pip had installed the dependencies, without a second copy of PyTorch:
what the package imports and does not require is missing there.
"""

import re
import sys
from email.parser import Parser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement


def read_requirements(wheel):
    """Return what a wheel requires, as its metadata has it."""
    with ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    return metadata.get_all("Requires-Dist", [])


def find_required(requirements):
    """Return the installed distributions that are required, and what these require."""
    found = {}
    waiting = [(Requirement(text), {""}) for text in requirements]
    while waiting:
        requirement, extras = waiting.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
            continue
        key = (re.sub(r"[-_.]+", "-", requirement.name).lower(), *requirement.extras)
        if key in found:
            continue
        found[key] = distribution(requirement.name)
        waiting += [
            (Requirement(text), {"", *requirement.extras})
            for text in found[key].requires or []
        ]
    return found.values()


def link(distributions, folder):
    """Link the files of each distribution into a folder, by their first part."""
    folder.mkdir(parents=True)
    for dist in distributions:
        for top in {file.parts[0] for file in dist.files or []} - {"..", "__pycache__"}:
            target = folder / top
            if not target.exists():
                target.symlink_to(Path(dist.locate_file(top)).resolve())


if __name__ == "__main__":
    wheel, folder = sys.argv[1:]
    try:
        link(find_required(read_requirements(wheel)), Path(folder))
    except PackageNotFoundError as error:
        sys.exit(f"{wheel} requires {error.name}, which is not installed here")
