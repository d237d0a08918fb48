#!/usr/bin/env bash
# Protocol Buffers in Python: == counts fields that the reader does not know, which no way of showing a message tells of by
# default.
#
# A new server sends a message with a field more; an old client compares it with one that it has made itself.
# Guess:     to an old reader both are the same message: fields it does not know are kept for whoever reads on, and otherwise
#            not there for it.
# Behaviour: they are unequal, while str, repr, ListFields and MessageToJson agree, so that a failing test prints two texts
#            without a difference. It is so in both implementations. After DiscardUnknownFields() they are equal. (str changes
#            its output for unknown fields only where it is asked to, by text_format's print_unknown_fields.)
# Seen with: protobuf 7.36.2 and 5.29.5, Python 3.11.7:
#
#     5.29.5 upb: equal False, same text True, same JSON True, equal without unknown fields True
#     5.29.5 python: equal False, same text True, same JSON True, equal without unknown fields True
#     7.36.2 upb: equal False, same text True, same JSON True, equal without unknown fields True
#     7.36.2 python: equal False, same text True, same JSON True, equal without unknown fields True
#
# So: compare what a test is about, field by field, or discard what is unknown before it compares.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > compare.py <<'PYTHON'
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.internal import api_implementation

file = descriptor_pb2.FileDescriptorProto(name="run.proto", package="shop", syntax="proto3")
integer, optional = descriptor_pb2.FieldDescriptorProto.TYPE_INT32, descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
for name, fields in {"OldRun": ["steps"], "NewRun": ["steps", "retries"]}.items():
    message = file.message_type.add(name=name)
    for number, field in enumerate(fields, 1):
        message.field.add(name=field, number=number, type=integer, label=optional)
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
old, new = (
    message_factory.GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}")) for name in ("OldRun", "NewRun")
)

received = old.FromString(new(steps=3, retries=1).SerializeToString())
made = old(steps=3)
equal = received == made
same_text = (str(received), repr(received), received.ListFields()) == (str(made), repr(made), made.ListFields())
same_json = json_format.MessageToJson(received) == json_format.MessageToJson(made)
received.DiscardUnknownFields()
print(f"{api_implementation.Type()}: equal {equal}, same text {same_text}, same JSON {same_json}, "
      f"equal without unknown fields {received == made}")
PYTHON

for version in 5.29.5 7.36.2; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "protobuf==$version"
    for implementation in upb python; do
        said="$version $(PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=$implementation "venv-$version/bin/python" compare.py)"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
