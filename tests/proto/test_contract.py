"""The contract and the code agree: on errors, kinds of events, statuses and sizes."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from flujo.client.statuses import TABLE
from flujo.client.wire.values import MAX_INLINE_BYTES
from flujo.client.wire.words import (
    CLEAN_UP_REASONS,
    PAUSE_REASONS,
    REASON_KINDS,
    STEP_CHANGES,
    STEP_KINDS,
    WAIT_KINDS,
    Words,
)
from flujo.kernel.api import MAX_INPUT_BYTES, Why
from flujo.kernel.events import KINDS, Kind
from flujo.kernel.journal.state import CleanUpReason
from flujo.kernel.observer import WATCH_EVENTS
from flujo.kernel.state import PauseReason, RunStatus, StepStatus
from flujo.kernel.store import filters
from flujo.server import runs
from flujo.v1 import (
    event_pb2,
    limits_pb2,
    payload_pb2,
    run_pb2,
    run_service_pb2,
    system_service_pb2,
    workflow_service_pb2,
)
from proto.contract import PROTO, Documented, documented_errors, undocumented_lines

FILES = [
    each.DESCRIPTOR
    for each in (
        event_pb2,
        limits_pb2,
        payload_pb2,
        run_pb2,
        run_service_pb2,
        system_service_pb2,
        workflow_service_pb2,
    )
]
METHODS = [
    method.name
    for service in (
        run_service_pb2.DESCRIPTOR.services_by_name["RunService"],
        system_service_pb2.DESCRIPTOR.services_by_name["SystemService"],
        workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"],
    )
    for method in service.methods
]


@pytest.mark.parametrize("documented", documented_errors(), ids="-".join)
def test_every_documented_error_is_one_of_ours(documented: Documented) -> None:
    """The code exists, the reason belongs to a class, and that class is answered with that code."""
    codes = {code for kind, (code, _) in TABLE.items() if kind.reason == documented.reason}

    assert grpc.StatusCode[documented.code] in codes
    assert documented.method in (*METHODS, "RunService", "SystemService", "WorkflowService")


def test_errors_are_documented_once_and_in_one_form() -> None:
    """No line looks like an error without being read as one, and none is there twice."""
    assert len(documented_errors()) > 40
    assert undocumented_lines() == []
    assert len(set(documented_errors())) == len(documented_errors())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_every_kind_of_event_has_a_message_with_its_fields(kind: Kind) -> None:
    """The same names, `timeout` being a Duration; what may be None is optional there, and nothing else is."""
    message = event_pb2.Event.DESCRIPTOR.fields_by_name[kind.type].message_type
    assert message is not None
    names = {name.removesuffix("_seconds"): name for name in kind.fact._fields}

    assert message.name == kind.fact.__name__
    assert {field.name for field in message.fields} == set(names)
    for field in message.fields:
        if _may_be_absent(field):
            assert kind.fact._field_defaults.get(names[field.name], None) in (None, {}), field.name
        else:
            assert kind.fact._field_defaults.get(names[field.name], ...) is not None or field.is_repeated, field.name


def _may_be_absent(field: FieldDescriptor) -> bool:
    return field.has_presence and not field.is_repeated


def test_there_is_no_kind_that_the_kernel_does_not_write() -> None:
    """The oneof holds our kinds and no others."""
    kinds = {field.name for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["fact"].fields}

    assert kinds == {kind.type for kind in KINDS}


def test_statuses_are_the_same_words() -> None:
    """Those of runs and of steps, in the same order."""
    for ours, theirs in ((RunStatus, run_pb2.RunStatus), (StepStatus, run_pb2.StepStatus)):
        names = [value.name.partition("_STATUS_")[2] for value in theirs.DESCRIPTOR.values]
        assert names == ["UNSPECIFIED", *(status.name for status in ours)]


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (STEP_KINDS, {"task", "sleep", "signal", "child", "now", "random", "uuid", "variable", "items"}),
        (WAIT_KINDS, {"backoff", "sleep", "signal", "child", "items"}),
        (STEP_CHANGES, {"changed", "removed", "renamed", "reordered", "inserted", "outdated", "misfit"}),
        (REASON_KINDS, {why.value for why in Why} - {Why.UNKNOWN.value}),
        (PAUSE_REASONS, {reason.value for reason in PauseReason}),
        (CLEAN_UP_REASONS, {reason.value for reason in CleanUpReason}),
    ],
)
def test_every_word_of_the_kernel_has_a_number(words: Words, known: set[str]) -> None:
    """And no number stands for another word; one of a newer release is shown as unknown."""
    assert {words.word(words.number(word)) for word in known} == known
    assert 0 not in {words.number(word) for word in known}
    assert words.word(len(known) + 1) == f"unknown({len(known) + 1})"
    assert words.number("teleported") == 0


def fields() -> list[FieldDescriptor]:
    """Every field of every message of the contract."""
    return [field for file in FILES for message in file.message_types_by_name.values() for field in message.fields]


def is_bounded(field: FieldDescriptor) -> bool:
    """Whether a field may grow: a text, bytes, a list or a map."""
    return field.is_repeated or field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


BY_THE_ANSWER = {
    "flujo.v1.RunDetails.waits",
    "flujo.v1.RunDetails.plan",
    "flujo.v1.RunDetails.differences",
    "flujo.v1.RunCreated.plan",
    "flujo.v1.RunResumed.plan",
    "flujo.v1.RunPaused.differences",
}
"""Lists of messages that end where the answer grows too large, and say so (test_bounds.py)."""


@pytest.mark.parametrize("field", [each for each in fields() if is_bounded(each)], ids=lambda field: field.full_name)
def test_whatever_may_grow_has_a_limit_and_its_comment_says_it(field: FieldDescriptor) -> None:
    """For programs as an option, for people in words."""
    limit = field.GetOptions().Extensions[limits_pb2.limit]
    if field.full_name in BY_THE_ANSWER:
        assert limit == limits_pb2.Limit()
        return
    message = field.containing_type
    assert message is not None
    text = (PROTO / Path(message.file.name).name).read_text("utf-8")
    body = re.search(rf"^message {message.name} \{{.*?^\}}", text, re.S | re.M)
    assert body is not None
    found = re.search(rf"((?:^ *//.*\n)+)^.* {field.name} = {field.number} \[", body[0], re.M)
    assert found is not None, "it has no option"
    comment = " ".join(found[1].replace("//", "").split())

    numbers = [number for number in (limit.bytes, limit.items, limit.key_bytes) if number]
    assert numbers
    for number in numbers:
        said = {str(number), f"{number // 1024} KiB", f"{number // 1024**2} MiB"}
        assert any(f" {each}" in comment for each in said if not each.startswith("0 ")), comment


def test_the_limits_of_requests_are_those_of_the_kernel() -> None:
    """What the kernel takes from Python is what the server takes from others."""
    labels = (
        run_service_pb2.StartRunRequest.DESCRIPTOR.fields_by_name["labels"].GetOptions().Extensions[limits_pb2.limit]
    )
    by = run_service_pb2.CancelRunRequest.DESCRIPTOR.fields_by_name["by"].GetOptions().Extensions[limits_pb2.limit]

    assert (labels.items, labels.key_bytes, labels.bytes) == (
        filters.MAX_LABELS,
        filters.MAX_LABEL_NAME,
        filters.MAX_LABEL,
    )
    assert by.bytes == filters.MAX_TEXT


def test_generated_code_has_a_place_in_other_languages() -> None:
    """Go cannot generate without; the others would put everything into one class, or one namespace of all."""
    for file in FILES:
        options = file.GetOptions()
        assert options.go_package.endswith("/flujo/v1;flujov1")
        assert (options.java_package, options.java_multiple_files) == ("io.flujo.v1", True)
        assert options.csharp_namespace == "Flujo.V1"
        assert options.objc_class_prefix == "FLJ"


def test_no_two_classes_of_java_have_one_name() -> None:
    """A file makes a class of its own beside those of its messages; by default limits.proto makes `Limits`, which is a
    message of another file, and a file system that ignores case would mix up others."""
    classes = [file.GetOptions().java_outer_classname for file in FILES]
    for file in FILES:
        classes += [*file.message_types_by_name, *file.enum_types_by_name]
        classes += [f"{service}Grpc" for service in file.services_by_name]

    assert "" not in classes
    assert len({name.lower() for name in classes}) == len(classes)


def test_nothing_is_reserved_for_what_may_come() -> None:
    """`buf breaking` takes a name or a number that is no longer reserved for a break: what is reserved never comes."""
    for file in FILES:
        made = FileDescriptorProto()
        file.CopyToProto(made)
        assert not [each.name for each in made.message_type if each.reserved_name or each.reserved_range]


def comment_of(field: str) -> str:
    """The comment above a field or method of the run service, as one line."""
    text = (PROTO / "run_service.proto").read_text("utf-8")
    found = re.search(rf"((?:^ *//.*\n)+)^ *{re.escape(field)}", text, re.MULTILINE)
    assert found is not None, field
    return " ".join(found[1].replace("//", "").split())


def test_sizes_and_times_in_the_comments_are_those_of_the_code() -> None:
    """A number that is changed in one place is missed in the other."""
    listed = comment_of("int32 page_size = 2;")
    assert f"0 means {runs.PAGE}" in listed
    assert f"more than {runs.LONGEST_PAGE} is read as {runs.LONGEST_PAGE}" in listed
    assert f"0 means {runs.EVENTS_PAGE}" in comment_of("int32 page_size = 3;")
    assert f"0 means {runs.PRUNE_PAGE}" in comment_of("int32 max_runs = 4;")
    waits = comment_of("google.protobuf.Duration max_wait = 2;")
    assert f"Absent means {runs.WAIT_SECONDS:g} s" in waits
    assert f"read as {runs.LONGEST_WAIT_SECONDS:g} s" in waits
    assert f"({runs.BOOKMARK_SECONDS:g} s)" in comment_of("WatchBookmark bookmark = 3;")
    assert f"pieces of up to {MAX_INLINE_BYTES // 1024} KiB" in comment_of("rpc ReadPayload")
    assert f"more than {MAX_INPUT_BYTES // 1024**2} MiB" in comment_of("rpc StartRun")
    assert f"1 to {WATCH_EVENTS} of them" in comment_of("repeated Event events = 1 [(limit).items = 64];")


@pytest.mark.parametrize("path", sorted(PROTO.glob("*.proto")), ids=lambda path: path.name)
def test_everything_in_the_contract_is_explained(path: Path) -> None:
    """Each message, field, value, service and method has a comment right above it."""
    lines = path.read_text("utf-8").splitlines()
    declares = re.compile(r"^\s*(message|enum|service|rpc|oneof|optional|repeated|map<|([\w.]+ )?\w+ = \d+( \[.*\])?;)")
    bare = [line for before, line in pairwise(lines) if declares.match(line) and "//" not in before]

    assert bare == []


def test_messages_come_from_the_files_that_are_read_here() -> None:
    """The generated modules are those of these .proto files, and no others are left over."""
    assert {Path(each.name).name for each in FILES} == {path.name for path in PROTO.glob("*.proto")}
    generated = {path.name.partition("_pb2")[0] for path in PROTO.glob("*_pb2*")}
    assert generated == {path.stem for path in PROTO.glob("*.proto")}


def test_the_messages_do_not_import_the_kernel() -> None:
    """A client of another make can use them alone."""
    script = "import sys, flujo.v1.run_service_pb2; print(*[name for name in sys.modules if name.startswith('flujo')])"

    listed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert {name.rpartition(".")[0] for name in listed} <= {"", "flujo", "flujo.v1"}
