"""A real Apache Kafka and a real PostgreSQL on this machine, installed by pip alone."""
