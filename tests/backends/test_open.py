"""How a store URL finds its backend, and what a backend says of itself."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest

import flujo.backends
from flujo.backends import InMemoryBackend, open_backend, schemes
from flujo.backends.discovery import anchored, find_store, path_of, workspaces_of
from flujo.kernel.errors import StoreError, StoreUrlError
from shipped import HARNESSES, ON_DISK

ROOT = Path(flujo.backends.__file__).parent
KNOWN = ", ".join(f"{scheme}:" for scheme in schemes())


def install(package: Path, *points: str) -> None:
    """Put the metadata of a package that registers these backends into a folder."""
    installed = package / "theirs-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("\n".join(["[flujo.backends]", *points, ""]))


# -- the registry ---------------------------------------------------------------------------------------------------


def test_every_registered_backend_is_under_test() -> None:
    """A backend that is registered runs through every suite that holds for all of them."""
    opened_by = {point.name: point.value for point in entry_points(group="flujo.backends")}

    assert set(schemes()) >= set(HARNESSES)
    assert {opened_by[scheme] for scheme in schemes()} == {opened_by[scheme] for scheme in HARNESSES}


def test_a_backend_of_flujo_is_what_the_registry_says() -> None:
    """It is found without the registry, which takes long to read, and the two never disagree."""
    opened_by = {point.name: point for point in entry_points(group="flujo.backends")}
    own = set(flujo.backends._MODULES.values())

    assert own <= set(opened_by)
    assert {scheme: flujo.backends._own_factory(scheme) for scheme in own} == {
        scheme: opened_by[scheme].load() for scheme in own
    }


def test_opening_a_backend_of_flujo_reads_no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other packages have registered is nobody's business then."""
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: pytest.fail("the registry was read"))

    assert isinstance(open_backend("memory:"), InMemoryBackend)


def test_other_packages_bring_schemes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scheme that another package registers opens what it names, and is listed."""
    install(tmp_path, "ram = ram:make")
    (tmp_path / "ram.py").write_text(
        "from flujo.backends import InMemoryBackend\n\ndef make(url):\n    return InMemoryBackend()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    assert isinstance(open_backend("ram:"), InMemoryBackend)
    assert "ram" in schemes()


def test_what_is_installed_is_read_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Reading the metadata of all packages takes longer than a small command; only an unknown scheme has it read anew,
    so that a package which came since is found."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ram.py").write_text(
        "from flujo.backends import InMemoryBackend\n\nmake = lambda url: InMemoryBackend()\n"
    )
    read: list[str] = []

    def reading(group: str) -> EntryPoints:
        read.append(group)
        return entry_points(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", reading)
    flujo.backends._registered_on.cache_clear()
    for _ in range(3):
        schemes()
    assert len(read) == 1
    install(tmp_path, "ram = ram:make")
    os.utime(tmp_path, (1, 1))  # importlib reads a folder anew when its date has changed

    assert isinstance(open_backend("ram:"), InMemoryBackend)
    assert len(read) == 2


def test_no_other_package_takes_a_scheme_of_flujo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is installed, `memory:` is flujo's own."""
    install(tmp_path, "memory = nowhere:make")
    monkeypatch.syspath_prepend(tmp_path)

    assert isinstance(open_backend("memory:"), InMemoryBackend)


@pytest.mark.parametrize("point", ["nowhere:make", "json:nothing"])
def test_a_backend_that_cannot_be_loaded_is_named(point: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A registered backend whose module or function is missing is an error that names both."""
    package = tmp_path / point.replace(":", "-")  # some versions of pytest give the folder of a passed test to the next
    install(package, f"broken = {point}")
    monkeypatch.syspath_prepend(package)

    with pytest.raises(StoreUrlError, match=f"broken.*{point}"):
        open_backend("broken:store")


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    """A URL of an unknown scheme is refused with the ones there are."""
    with pytest.raises(StoreUrlError, match=re.escape(KNOWN)):
        open_backend("mysql://host/db")


def test_a_bare_path_is_shown_as_a_url() -> None:
    """A path without a scheme is refused with a URL it could have been, and with all schemes."""
    with pytest.raises(StoreUrlError, match=re.escape(f"as in sqlite:state.db; there are {KNOWN}")):
        open_backend("state.db")


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_question_mark_in_a_name_is_told_with_the_url_that_works(scheme: str) -> None:
    """What stands behind the last one is read as options, so a name with one has some behind it."""
    with pytest.raises(StoreUrlError, match="behind the last \\? stand the options") as refused:
        open_backend(f"{scheme}:why?.db")

    command, _, _ = refused.value.hints[0].partition("  # ")
    assert command == f"--store '{scheme}:why?.db?durability=full'"
    assert open_backend(f"{scheme}:why?.db?durability=full").path == Path.cwd() / "why?.db"


@pytest.mark.parametrize("scheme", ON_DISK)
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("x" * 5000, "a name in its path has 5000 bytes, and may have 240"),
        ("ä" * 121, "a name in its path has 242 bytes"),
        ("/" + "/".join(["x" * 200] * 20), "its path has 4020 bytes, and may have 3840"),
    ],
)
def test_a_path_that_no_disk_takes_is_told_as_that(scheme: str, path: str, told: str) -> None:
    """And not as a matter of permissions; the message is short all the same."""
    with pytest.raises(StoreUrlError, match=told) as refused:
        open_backend(f"{scheme}:{path}")

    assert len(str(refused.value)) < 200


def test_nothing_else_is_exported() -> None:
    """A name the package does not have is an AttributeError."""
    with pytest.raises(AttributeError, match="MySQLBackend"):
        flujo.backends.MySQLBackend  # type: ignore[attr-defined]


def test_backends_do_not_know_each_other() -> None:
    """No module of a registered backend imports another backend: what they share belongs to neither."""
    homes = {point.name: point.module.rpartition(".")[2] for point in entry_points(group="flujo.backends")}
    for home in homes.values():
        others = {f"flujo.backends.{name}" for name in homes.values()} - {f"flujo.backends.{home}"}
        package = ROOT / home
        for file in package.rglob("*.py") if package.is_dir() else [package.with_suffix(".py")]:
            assert not any(module.startswith(tuple(others)) for module in imported_by(file)), file


def imported_by(file: Path) -> Iterator[str]:
    """The full names of what a module of `flujo.backends` imports."""
    package = ["flujo", "backends", *file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            yield from (".".join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names)


# -- what a backend says of itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ON_DISK)
def test_a_store_on_disk_says_where_it_is(scheme: str) -> None:
    """Its path is absolute and known before anything is opened; workspaces lie beside it, wherever somebody works."""
    assert open_backend(f"{scheme}:a/store?durability=normal").path == Path.cwd() / "a/store"
    assert open_backend(f"{scheme}:///a/store").path == Path("/a/store")
    assert path_of(f"{scheme}:a/store?durability=normal") == Path("a/store")
    assert workspaces_of(f"{scheme}:a/store", Path("/here")) == Path("/here/a/workspaces")
    assert anchored(f"{scheme}:a/store?durability=normal", Path("/here")) == f"{scheme}:/here/a/store?durability=normal"


def test_a_store_without_a_path_has_none() -> None:
    """Its URL means the same everywhere, and its runs work in .flujo."""
    assert path_of("memory:") is None
    assert anchored("memory:", Path("/here")) == "memory:"
    assert workspaces_of("memory:", Path("/here")) == Path("/here/.flujo/workspaces")


async def test_a_backend_that_restores_nothing_says_so(tmp_path: Path) -> None:
    """It declares as much, and asking all the same is an error that says what to use instead."""
    backend = open_backend("memory:")

    assert not backend.capabilities.restorable
    with pytest.raises(StoreError, match="flujo cannot restore a store of this kind"):
        await backend.restore(tmp_path / "backup")


def test_a_setting_that_is_no_text_is_told_with_its_file(tmp_path: Path) -> None:
    """The file comes first, as in every error of a store."""
    (tmp_path / "flujo.toml").write_text("store = 5\n")

    with pytest.raises(StoreUrlError) as refused:
        find_store(here=tmp_path)

    assert refused.value.message == f"{tmp_path / 'flujo.toml'}: `store` must be a text"
