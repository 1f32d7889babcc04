"""JSON with a schema in a registry: the text is taken as it is, the table's types decide."""

from kafka_pg_pipeline.domain.documents import Decoded
from kafka_pg_pipeline.formats.wire import split_schema_id
from kafka_pg_pipeline.ports import SchemaRegistry


class JsonSchemaDecoder:
    """Decodes values and keys in the wire format. They are not validated once more.

    Whoever wrote a record has validated it, or chose not to. The schema has to be there.
    """

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry

    def decode(self, data: bytes) -> Decoded:
        """The JSON text.

        Raises:
            Rejected: there is no schema's id, or the registry does not know it.
            RegistryUnavailableError: the schema could not be fetched.
        """
        schema_id, text = split_schema_id(data)
        self._registry.fetch_schema(schema_id)
        return Decoded(text)
