"""What producers write, as JSON documents: one decoder a format, each behind the port RecordDecoder."""
