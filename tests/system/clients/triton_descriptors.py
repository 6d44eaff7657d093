"""The names and numbers of Triton's own contract, as JSON into the file that is named."""

import json
import sys
from pathlib import Path

from tritonclient.grpc import model_config_pb2, service_pb2


def kind(field):
    other = field.message_type or field.enum_type
    return [
        field.number,
        other.full_name if other else field.type,
        field.containing_oneof and field.containing_oneof.name,
    ]


def messages(found, descriptors):
    for message in descriptors:
        found[message.full_name] = {field.name: kind(field) for field in message.fields}
        messages(found, message.nested_types)


told = {"messages": {}, "enums": {}, "methods": {}}
for file in (model_config_pb2.DESCRIPTOR, service_pb2.DESCRIPTOR):
    messages(told["messages"], file.message_types_by_name.values())
    for enum in file.enum_types_by_name.values():
        told["enums"][enum.full_name] = {value.name: value.number for value in enum.values}
    for service in file.services_by_name.values():
        for method in service.methods:
            told["methods"][method.full_name] = [
                method.input_type.full_name,
                method.output_type.full_name,
                method.client_streaming,
                method.server_streaming,
            ]
Path(sys.argv[1]).write_text(json.dumps(told))
