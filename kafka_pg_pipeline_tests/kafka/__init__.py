"""The Kafka adapters against a real broker."""
