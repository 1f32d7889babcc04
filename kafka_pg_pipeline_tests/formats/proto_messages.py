"""Classes of Protobuf messages, compiled from texts as a producer's build would."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc_tools
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc


def compile_messages(texts: Mapping[str, str]) -> Any:
    """What gives a message's class by its full name; the last text may import the others."""
    pool = descriptor_pool.DescriptorPool()
    with TemporaryDirectory() as name:
        directory = Path(name)
        for path, text in texts.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text, "utf-8")
        output = directory / "descriptors"
        include = Path(grpc_tools.__file__).with_name("_proto")
        arguments = [f"-I{directory}", f"-I{include}", "--include_imports", f"-o{output}"]
        assert protoc.main(["protoc", *arguments, list(texts)[-1]]) == 0
        for file in descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file:
            pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
