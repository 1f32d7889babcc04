"""psycopg2 behind the ports."""
