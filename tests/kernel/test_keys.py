"""Step keys: a name in a branch is one place, whatever the other branches do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.kernel.errors import InvalidNameError, UnsafeStepNameError
from flujo.kernel.keys import Branch, check_run_id, check_step_name, item_key

OWN, FOREIGN = 1, 2


@pytest.mark.parametrize(
    ("prefix", "names", "keys"),
    [
        ("", ["fetch"], ["fetch"]),
        ("", ["fetch", "fetch", "fetch"], ["fetch", "fetch#2", "fetch#3"]),
        ("", ["a", "b", "a"], ["a", "b", "a#2"]),
        ("a/", ["fetch", "fetch"], ["a/fetch", "a/fetch#2"]),
        ("gather[0]/", ["fetch"], ["gather[0]/fetch"]),
    ],
)
def test_repeats_are_numbered_within_their_branch(prefix: str, names: list[str], keys: list[str]) -> None:
    """The second use of a name is `name#2`, under the prefix of the branch."""
    branch = Branch(prefix, OWN)

    assert [branch.key(name, OWN, explicit=False) for name in names] == keys


def test_looking_at_the_next_key_does_not_use_it_up() -> None:
    """`next_key` says what the next key will be, any number of times."""
    branch = Branch("", OWN)
    branch.key("fetch", OWN, explicit=False)

    assert [branch.next_key("fetch") for _ in range(2)] == ["fetch#2", "fetch#2"]
    assert branch.key("fetch", OWN, explicit=False) == "fetch#2"


def test_a_foreign_task_may_use_explicit_names_once() -> None:
    """A task the kernel did not start gets a key only for a name of its own that nobody else uses."""
    branch = Branch("a/", OWN)
    branch.key("used", OWN, explicit=True)

    assert branch.key("mine", FOREIGN, explicit=True) == "a/mine"
    with pytest.raises(UnsafeStepNameError, match="without a name of its own"):
        branch.key("fetch", FOREIGN, explicit=False)
    with pytest.raises(UnsafeStepNameError, match="already used"):
        branch.key("used", FOREIGN, explicit=True)
    with pytest.raises(UnsafeStepNameError, match="already used"):
        branch.key("mine", FOREIGN, explicit=True)
    with pytest.raises(UnsafeStepNameError, match="concurrent task"):
        branch.key("mine", OWN, explicit=True)


@pytest.mark.parametrize(
    ("base", "item", "key"), [("resize", 17, "resize[17]"), ("a/resize#2", "x:1", "a/resize#2[x:1]")]
)
def test_items_are_named_by_index_or_key(base: str, item: int | str, key: str) -> None:
    """An item is its base with the index or the key in brackets."""
    assert item_key(base, item) == key


@pytest.mark.parametrize("item", ["", "a b", "a]", "a/b", "x" * 101])
def test_item_keys_are_restricted(item: str) -> None:
    """A key that could be mistaken for another part of a name is refused."""
    with pytest.raises(InvalidNameError):
        item_key("map", item)


@pytest.mark.parametrize("name", ["", "9a", "a b", "a#2", "a[0]", "a/b", "é", "x" * 101, "a\n", None, 3])
def test_step_names_are_restricted(name: str) -> None:
    """A step name is a letter or underscore and up to 99 letters, digits, underscores, dots or dashes."""
    with pytest.raises(InvalidNameError, match="step name"):
        check_step_name(name)


@pytest.mark.parametrize("run_id", ["", "-a", ".a", "a b", "a/b", "../a", "x" * 101, "a\n", None, 3])
def test_run_ids_are_restricted(run_id: str) -> None:
    """A run id is safe as the name of a folder."""
    with pytest.raises(InvalidNameError, match="run id"):
        check_run_id(run_id)


@pytest.mark.parametrize("name", ["a", "_", "A.b-c_9", "x" * 100])
def test_names_of_all_allowed_forms_pass(name: str) -> None:
    """What the rules allow is returned as it is."""
    assert check_step_name(name) == name
    assert check_run_id(name.replace("_", "0", 1)) == name.replace("_", "0", 1)


@given(
    st.lists(st.tuples(st.sampled_from(["a/", "b/", "c/"]), st.sampled_from(["x", "y"])), max_size=30),
)
def test_the_names_of_a_branch_do_not_depend_on_other_branches(calls: list[tuple[str, str]]) -> None:
    """However the calls of several branches interleave, each branch gets the keys it would get alone."""
    together = {prefix: Branch(prefix, OWN) for prefix in ("a/", "b/", "c/")}
    interleaved: dict[str, list[str]] = {prefix: [] for prefix in together}
    for prefix, name in calls:
        interleaved[prefix].append(together[prefix].key(name, OWN, explicit=False))

    for prefix in together:
        alone = Branch(prefix, OWN)
        assert interleaved[prefix] == [alone.key(name, OWN, explicit=False) for at, name in calls if at == prefix]
    everything = [key for keys in interleaved.values() for key in keys]
    assert len(set(everything)) == len(everything)
