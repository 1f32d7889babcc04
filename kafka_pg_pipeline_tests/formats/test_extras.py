"""A format whose library is not installed says what to install."""

import sys

import pytest

from kafka_pg_pipeline.errors import ConfigurationError
from kafka_pg_pipeline.formats.avro import AvroFileDecoder
from kafka_pg_pipeline.formats.protobuf import ProtoCompiler


def test_avro_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'kafka-pg-pipeline\[avro\]'"):
        AvroFileDecoder('"long"')


def test_protobuf_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc_tools.protoc", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'kafka-pg-pipeline\[protobuf\]'"):
        ProtoCompiler()
