"""Verdicts on a record and on one of its values, caught where the coordinates are known."""

from kafka_pg_pipeline.domain.records import Reason, Stage


class Rejected(Exception):  # noqa: N818 - a verdict on a record
    """The record cannot become a row."""

    def __init__(self, stage: Stage, reason: Reason, column: str | None = None) -> None:
        super().__init__(reason.value)
        self.stage = stage
        self.reason = reason
        self.column = column


class Unfit(Exception):  # noqa: N818 - a verdict on a value
    """The value cannot become one of the column's type."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason
