#!/usr/bin/env python3
"""Talks to an edge or a gateway knowing nothing but its address: the schema comes by reflection.

    python3 python_reflection.py 127.0.0.1:PORT --model commands --prompt "..."

Needs grpcio and protobuf (Debian: python3-grpcio).
"""
import argparse
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto


def small_schema(package, messages):
    """Message classes of a schema small enough to write down: {name: [(field, number, type)]}.

    A type is "string", "bytes", "int32" or the name of a message; a leading * means repeated.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=package + ".proto", package=package, syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = FIELD.LABEL_REPEATED if kind.startswith("*") else FIELD.LABEL_OPTIONAL
            entry = message.field.add(name=field, number=number, label=label)
            kind = kind.lstrip("*")
            if kind in messages:
                entry.type, entry.type_name = FIELD.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                entry.type = getattr(FIELD, "TYPE_" + kind.upper())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_class(pool, f"{package}.{name}")


def message_class(pool, name):
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


REFLECTION = small_schema("grpc.reflection.v1", {
    "ServerReflectionRequest": [
        ("file_by_filename", 3, "string"), ("file_containing_symbol", 4, "string"),
        ("list_services", 7, "string")],
    "FileDescriptorResponse": [("file_descriptor_proto", 1, "*bytes")],
    "ServiceResponse": [("name", 1, "string")],
    "ListServiceResponse": [("service", 1, "*ServiceResponse")],
    "ErrorResponse": [("error_code", 1, "int32"), ("error_message", 2, "string")],
    "ServerReflectionResponse": [
        ("file_descriptor_response", 4, "FileDescriptorResponse"),
        ("list_services_response", 6, "ListServiceResponse"),
        ("error_response", 7, "ErrorResponse")],
})
HEALTH = small_schema("grpc.health.v1", {
    "HealthCheckRequest": [("service", 1, "string")],
    "HealthCheckResponse": [("status", 1, "int32")],
})


def reflect(channel, **question):
    """Asks the server's reflection one question."""
    request = REFLECTION("ServerReflectionRequest")
    response = REFLECTION("ServerReflectionResponse")
    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=request.SerializeToString, response_deserializer=response.FromString)
    answer = next(ask(iter([request(**question)]), timeout=10))
    if answer.error_response.error_code:
        raise SystemExit(f"reflection of {question}: {answer.error_response.error_message}")
    return answer


def list_services(channel):
    # The server ignores what it says, but empty it wouldn't be on the wire at all.
    answer = reflect(channel, list_services="*").list_services_response
    return [service.name for service in answer.service]


def load_schema(channel, symbol):
    """A pool with the file that holds `symbol` and all that it imports."""
    pool, loaded, files = descriptor_pool.DescriptorPool(), set(), {}

    def keep(answer):
        for blob in answer.file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(blob)
            files[file.name] = file
        return list(files)

    def load(name):
        if name in loaded:
            return
        loaded.add(name)
        if name not in files:
            keep(reflect(channel, file_by_filename=name))
        for dependency in files[name].dependency:
            load(dependency)
        pool.AddSerializedFile(files[name].SerializeToString())

    for name in keep(reflect(channel, file_containing_symbol=symbol)):
        load(name)
    return pool


class Service:
    """Calls the methods of a service by their names."""

    def __init__(self, channel, name):
        self.channel, self.pool = channel, load_schema(channel, name)
        self.descriptor = self.pool.FindServiceByName(name)

    def message(self, name):
        return message_class(self.pool, name)

    def call(self, method, timeout=30, **fields):
        found = self.descriptor.methods_by_name[method]
        request = message_class(self.pool, found.input_type.full_name)
        response = message_class(self.pool, found.output_type.full_name)
        proto = descriptor_pb2.MethodDescriptorProto()
        found.CopyToProto(proto)
        kind = self.channel.unary_stream if proto.server_streaming else self.channel.unary_unary
        path = f"/{self.descriptor.full_name}/{method}"
        send = kind(
            path, request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)
        return send(request(**fields), timeout=timeout)


def health(channel, service=""):
    request, response = HEALTH("HealthCheckRequest"), HEALTH("HealthCheckResponse")
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=request.SerializeToString, response_deserializer=response.FromString)
    names = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING"}
    return names[check(request(service=service), timeout=10).status]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("address", help="host:port of an edge or a gateway")
    parser.add_argument("--model", help="default: the first one listed")
    parser.add_argument("--prompt", default="Hello")
    parser.add_argument("--max-tokens", type=int, default=64)
    options = parser.parse_args()

    channel = grpc.insecure_channel(options.address)
    print("services:", " ".join(sorted(list_services(channel))))
    print("health:", health(channel))
    inference = Service(channel, "isthmus.v1.Inference")
    models = [model.id for model in inference.call("ListModels").models]
    print("models:", " ".join(models))

    chat = {"messages": [{"role": "user", "content": options.prompt}]}
    stream = inference.call(
        "Generate", model=options.model or models[0], chat=chat,
        max_tokens=options.max_tokens, sampling={"temperature": 0})
    text, edge = "", ""
    for response in stream:
        event = response.WhichOneof("event")
        if event == "started":
            edge = response.started.edge
            continue
        part = getattr(response, event).text
        text += part
        if event == "finished":
            print("text:", repr(text))
            print("finished:", response.finished.completion_tokens, "tokens from", edge)

    try:
        list(inference.call("Generate", model=options.model or models[0]))
    except grpc.RpcError as error:
        metadata = dict(error.trailing_metadata())
        fault, param = metadata.get("isthmus-fault"), metadata.get("isthmus-param")
        print("refused:", error.code().name, fault, param)


if __name__ == "__main__":
    sys.exit(main())
