"""Components for projects in the style of ``dg``."""

from kafka_pg_pipeline.components.topic_table import TopicTableComponent

__all__ = ["TopicTableComponent"]
