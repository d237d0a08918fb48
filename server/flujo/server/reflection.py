"""Server reflection in its released version, v1, and in v1alpha, which older tools ask for.

The messages of both are the same on the wire, and grpcio-reflection has the servicer of v1alpha only. So v1 is answered
by the same code under its own name, and described by the contract of v1alpha with the other name in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"
V1_FILE = "grpc/reflection/v1/reflection.proto"


def add_reflection(services: Sequence[str], server: aio.Server) -> None:
    """Let the server describe these services, and reflection itself."""
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer(service_names=(*services, V1, reflection.SERVICE_NAME))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, reflection.SERVICE_NAME):
        described = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
        server.add_generic_rpc_handlers((described,))


def _describe_v1() -> None:
    """Make the contract of v1 known to protobuf, unless something else in this process has."""
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(V1_FILE)
    except KeyError:
        known = FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(known)
        pool.Add(_renamed(known))


def _renamed(file: FileDescriptorProto) -> FileDescriptorProto:
    file.name = V1_FILE
    file.package = "grpc.reflection.v1"
    for message in file.message_type:
        for field in filter(lambda each: each.type_name, message.field):
            field.type_name = field.type_name.replace("v1alpha", "v1")
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace("v1alpha", "v1")
            method.output_type = method.output_type.replace("v1alpha", "v1")
    return file
