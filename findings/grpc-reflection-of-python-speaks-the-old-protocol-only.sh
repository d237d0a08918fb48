#!/usr/bin/env bash
# grpcio-reflection: a server that describes its services answers the alpha of the protocol, and no other.
#
# A server in Python calls enable_server_reflection. The same question (list the services) is asked by both names that the
# protocol has had, grpc.reflection.v1alpha and grpc.reflection.v1; the messages of both are the same bytes.
# Guess:     the newest release registers v1, as the reflection of Go and Node does, and v1alpha beside it for old clients.
# Behaviour: v1alpha alone. Whoever asks for v1 and does not fall back is told UNIMPLEMENTED, which reads as if reflection were
#            turned off. The package holds no v1 to register by hand either.
# Seen with: grpcio-reflection 1.85.1 and 1.62.0, Python 3.11.7:
#
#     1.62.0 grpc.reflection.v1alpha: grpc.reflection.v1alpha.ServerReflection
#     1.62.0 grpc.reflection.v1: UNIMPLEMENTED
#     1.85.1 grpc.reflection.v1alpha: grpc.reflection.v1alpha.ServerReflection
#     1.85.1 grpc.reflection.v1: UNIMPLEMENTED
#
# So: register the servicer under the second name as well, with a generic handler; the bytes need no change. A client asks for v1
# first and for v1alpha when that is UNIMPLEMENTED.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > reflect.py <<'PYTHON'
import sys
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

server = grpc.server(futures.ThreadPoolExecutor(2))
reflection.enable_server_reflection([reflection.SERVICE_NAME], server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    for package in ("grpc.reflection.v1alpha", "grpc.reflection.v1"):
        ask = channel.stream_stream(
            f"/{package}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        try:
            answer = next(ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=20))
            told = ", ".join(each.name for each in answer.list_services_response.service)
        except grpc.RpcError as error:
            told = error.code().name
        print(f"{sys.argv[1]} {package}: {told}")
server.stop(None)
PYTHON

for versions in 1.62.0/1.62.0 1.85.1/1.85.3; do
    version=${versions%/*}
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check \
        "grpcio-reflection==$version" "grpcio==${versions#*/}"
    "venv-$version/bin/python" reflect.py "$version" 2>>log | while read -r said; do
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done
done
