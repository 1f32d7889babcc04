"""``python3 demo``: the same as ``kafka-pg demo``, from a plain checkout.

Any Python starts it: when the package's dependencies are not installed here, it goes on in the
environment that ``make install`` made.
"""

import importlib.util
import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT = CHECKOUT / ".venv" / "bin" / "python"
NEEDED = ("click", "dagster", "kafka", "psycopg2", "pydantic", "rich")
AGAIN = "KAFKA_PG_DEMO_STARTED"


def main() -> None:
    """Run the demo here, or in the environment of the checkout, or say how to make one."""
    sys.path.insert(0, str(CHECKOUT))
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing and sys.version_info >= (3, 10):
        from kafka_pg_pipeline.cli.main import main as kafka_pg

        kafka_pg(["demo", *sys.argv[1:]])
    if ENVIRONMENT.exists() and AGAIN not in os.environ:
        os.environ[AGAIN] = "1"
        os.execv(ENVIRONMENT, [str(ENVIRONMENT), str(Path(__file__).parent), *sys.argv[1:]])  # noqa: S606
    here = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(
        f"error: the demo needs Python 3.10 or newer with its dependencies; this is Python {here}"
        f"{', without ' + ', '.join(missing) if missing else ''}.\n"
        "run: make install   (or: pip3 install -r requirements.txt)   then again: python3 demo\n"
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
