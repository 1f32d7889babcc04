"""The code location: configuration file → resources, assets, jobs, schedules and the sensor.

The file is the one that KAFKA_PG_CONFIG names, else pipeline.yaml in the working directory, else
the built-in demo. Nothing is connected to while this module is imported.
``KAFKA_PG_START_SENSORS=1`` turns the sensor on from the start, as ``kafka-pg dev`` does.
"""

import os

from kafka_pg_pipeline.orchestration.location import build_definitions
from kafka_pg_pipeline.settings.file import load_settings

defs = build_definitions(load_settings(None, os.environ))
