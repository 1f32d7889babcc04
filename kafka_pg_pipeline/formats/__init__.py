"""What producers write, as JSON documents: a decoder a format, behind the port RecordDecoder."""
