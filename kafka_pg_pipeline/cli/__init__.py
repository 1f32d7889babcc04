"""The kafka-pg command."""
