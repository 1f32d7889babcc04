"""Apache Kafka behind the ports: looking at topics, reading records, producing demo events."""
