"""What Dagster runs: ops, jobs, schedules, the sensor, and their metadata."""
