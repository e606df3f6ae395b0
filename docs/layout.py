"""The package as its code shows it: its rooms, what each is for, and who imports whom.

A room is a file or a folder at the top of the package; ``modules.fast`` is one more.
The page for contributors prints what is read here, and a test checks it, so that
neither can say what the code does not.
"""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "fmnist_sklearn"
ROOMS_WITHIN = ("modules.fast",)


def read_files(package=PACKAGE):
    """Return the files of a package by their dotted names in it.

    ``training/loop.py`` is "training.loop", ``training/__init__.py`` is "training", and
    the ``__init__.py`` of the package itself is "".
    """
    files = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def read_imports(package=PACKAGE):
    """Return for each file of a package which others it imports, wherever in it.

    ``from .files import sha256`` is an arrow to that file, ``from .storage import
    sha256`` one to the ``__init__`` of that folder.
    """
    files = read_files(package)
    imports = {}
    for name, path in files.items():
        inside = path.parent.relative_to(package).parts
        imported = set()
        for module, names in _import_statements(path, (package.name, *inside)):
            if module[:1] == (package.name,):
                imported |= {_nearest(".".join(module[1:]), n, files) for n in names}
        imports[name] = imported - {name}
    return imports


def _import_statements(path, folder):
    """Yield the parts of each module imported from, and the names taken of it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split(".")), [""]
        elif isinstance(node, ast.ImportFrom):
            above = folder[: len(folder) + 1 - node.level] if node.level else ()
            rest = tuple(node.module.split(".")) if node.module else ()
            yield above + rest, [alias.name for alias in node.names]


def _nearest(module, name, files):
    """Return the file that a name of a module is, or that it is taken from."""
    inside = f"{module}.{name}".strip(".")
    return inside if inside in files else module


def room_of(name):
    """Return the room in which a file lies."""
    for room in ROOMS_WITHIN:
        if name == room or name.startswith(f"{room}."):
            return room
    return name.partition(".")[0]


def read_picture(package=PACKAGE):
    """Return for each room which other rooms it imports: the folder-level picture."""
    picture = {}
    for name, imported in read_imports(package).items():
        if name:  # the package's own __init__ may import them all
            picture.setdefault(room_of(name), set()).update(map(room_of, imported))
    return {room: rooms - {room} for room, rooms in picture.items()}


def top_down(arrows):
    """Return names so that each stands above those that it imports.

    Raises
    ------
    graphlib.CycleError
        Where names import each other in a ring, which the error holds.
    """
    ordered = {name: sorted(arrows[name]) for name in sorted(arrows, reverse=True)}
    return list(TopologicalSorter(ordered).static_order())[::-1]


# What the page for contributors prints


def summary(path):
    """Return the first sentence of a file's docstring, as plain text."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split()).replace("``", "")


def tree_text(package=PACKAGE):
    """Write the package's folders and files, each with its docstring's summary."""
    files = read_files(package)
    del files[""]
    rooms = top_down(read_picture(package))
    rows = []
    for name in sorted(files, key=lambda name: (rooms.index(name.split(".")[0]), name)):
        path = files[name]
        own = f"{path.parent.name}/" if path.name == "__init__.py" else path.name
        rows.append(("  " * (name.count(".") + 1) + own, summary(path)))
    return f"{package.name}/\n{_columns(rows)}"


def arrows_text(package=PACKAGE):
    """Write which rooms each room imports, from the top down."""
    picture = read_picture(package)
    rooms = top_down(picture)
    rows = []
    for room in rooms:
        imported = ", ".join(sorted(picture[room], key=rooms.index))
        rows.append((room, f"-> {imported or 'none of ours'}"))
    return _columns(rows)


def _columns(rows):
    width = max(len(left) for left, _ in rows) + 2
    return "\n".join(f"{left:{width}}{right}".rstrip() for left, right in rows)
