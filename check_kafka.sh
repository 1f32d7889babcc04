#!/bin/sh
# Tells whether Kafka can be used: the broker answers, the streams' topics exist and can be read.
# Exit 0 when all is well, 1 when a check fails, 2 when the configuration is wrong.
here=$(dirname "$0")
if [ -x "$here/.venv/bin/kafka-pg" ]; then
  exec "$here/.venv/bin/kafka-pg" doctor --kafka "$@"
elif PYTHONPATH="$here" python3 -c 'import kafka_pg_pipeline.cli.main' 2>/dev/null; then
  PYTHONPATH="$here" exec python3 -m kafka_pg_pipeline doctor --kafka "$@"
fi
echo "error: kafka_pg_pipeline is not installed; run: make install" >&2
exit 2
