"""``python -m kafka_pg_pipeline`` is ``kafka-pg``."""

from kafka_pg_pipeline.cli.main import main

if __name__ == "__main__":
    main()
