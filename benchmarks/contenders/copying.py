"""COPY of text that was made before: the most that PostgreSQL takes. A script."""

import io
import json
import sys
import time
from typing import Any

import psycopg2


def copy(order: dict[str, Any]) -> float:
    lines = "".join(
        f"{n}\tcategory-{n % 17}\t{n % 1000}.{n % 97:02d}\t2026-01-01T00:00:00Z\n"
        for n in range(order["records"])
    ).encode()
    connection = psycopg2.connect(**order["postgres"])
    started = time.monotonic()
    with connection, connection.cursor() as cursor:
        statement = f'COPY "{order["table"]}" (id, category, value, ts) FROM STDIN'
        cursor.copy_expert(statement, io.BytesIO(lines), size=1 << 18)
    return time.monotonic() - started


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps({"started": time.time()}))
    print(json.dumps({"seconds": copy(order)}))
