"""Import of classes from the user's own code, by "package.module:Class"."""

import inspect
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from fedqs_ray.core.exceptions import ConfigError


class OwnFolders:
    """Import finder for the folders that the user's modules came from, asked after all others. The newest comes first.

    It outlives the import of a module, because imports inside the module's functions look for its siblings later.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, self.folders, target) if path is None else None


OWN_FOLDERS = OwnFolders()


def find_class(path: str, setting: str) -> Any:
    """Find the class at "package.module:Class", also in the working folder. Raises `ConfigError` about `setting`."""
    module, _, name = path.partition(":")
    try:
        found = getattr(import_own(module), name)
    except Exception as error:  # noqa: BLE001  a user's module may raise anything
        raise ConfigError(f'{setting} = "{path}": {error}; must be "package.module:Class"') from None
    if not inspect.isclass(found):
        raise ConfigError(f'{setting} = "{path}": is no class; must be "package.module:Class"')
    return found


def import_own(name: str) -> ModuleType:
    """Import a module; the working folder, where a console script does not look, comes last. Leaves sys.path alone."""
    if OWN_FOLDERS not in sys.meta_path:
        sys.meta_path.append(OWN_FOLDERS)
    here, before = Path.cwd(), OWN_FOLDERS.folders
    OWN_FOLDERS.folders = [str(here), *(folder for folder in before if folder != str(here))]
    try:
        module = import_module(name)
    except BaseException:
        OWN_FOLDERS.folders = before
        raise
    if find_folder(sys.modules[name.partition(".")[0]]) != here:
        OWN_FOLDERS.folders = before
    return module


def find_folder(module: ModuleType) -> Path | None:
    """Folder that a module or a package was imported from; None for one without files."""
    spec = module.__spec__
    places: list[str | None] = []
    if spec:
        places = [*(spec.submodule_search_locations or ()), spec.origin]
    return Path(places[0]).parent if places and places[0] else None
