"""Moments, dates and times of day as PostgreSQL reads them, exact and in its whole range."""

from datetime import date, datetime, timedelta

from kafka_pg_pipeline.domain.records import Reason
from kafka_pg_pipeline.domain.verdicts import Unfit

# timestamptz's own limits: 4714-11-24 BC to before 294277-01-01 AD, in microseconds of 1970.
_MICROSECONDS_MIN = -210_866_803_200_000_000
_MICROSECONDS_END = 9_224_318_016_000_000_000
_MICROSECONDS_A_DAY = 86_400_000_000
# date's own limits: 4714-11-24 BC to 5874897-12-31 AD, in days of 1970.
_DAYS_MIN, _DAYS_END = -2_440_588, 2_145_031_949
# The Gregorian calendar repeats every 400 years; ``date`` knows the years 1 to 9999 only.
_YEARS_A_CYCLE, _DAYS_A_CYCLE = 400, 146_097
_DAYS_TO_EPOCH = date(1970, 1, 1).toordinal() - 1
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - zones are not its business
# The years that ``datetime`` knows, 1 to 9999, in microseconds of 1970.
_DATETIME_MIN = -_DAYS_TO_EPOCH * _MICROSECONDS_A_DAY
_DATETIME_END = (date.max.toordinal() - _DAYS_TO_EPOCH) * _MICROSECONDS_A_DAY


class MomentText:
    """Milliseconds since the epoch as timestamptz text, in UTC whatever zone a session has.

    The part up to the second is kept from one call to the next.
    """

    def __init__(self) -> None:
        self._second: int | None = None
        self._prefix = ""
        self._suffix = ""

    def __call__(self, milliseconds: int) -> str:
        """The moment as text.

        Raises:
            Unfit: timestamptz does not reach that far.
        """
        second, rest = divmod(milliseconds, 1000)
        if second != self._second:
            whole = format_microseconds(second * 1_000_000)
            self._prefix, self._suffix = whole.split(".000", 1)
            self._second = second
        return f"{self._prefix}.{rest:03d}{self._suffix}"


def format_microseconds(microseconds: int, *, zone: str = "+00") -> str:
    """Microseconds since the epoch as an ISO timestamp in UTC, exact.

    Args:
        microseconds: Since 1970-01-01 00:00.
        zone: What stands behind the time: nothing for a timestamp of no zone.

    Raises:
        Unfit: timestamptz does not reach that far.
    """
    if _DATETIME_MIN <= microseconds < _DATETIME_END:
        places = "microseconds" if microseconds % 1000 else "milliseconds"
        return (_EPOCH + timedelta(0, 0, microseconds)).isoformat(" ", places) + zone
    if not _MICROSECONDS_MIN <= microseconds < _MICROSECONDS_END:
        raise Unfit(Reason.OUT_OF_RANGE)
    days, rest = divmod(microseconds, _MICROSECONDS_A_DAY)
    day, era = _calendar(days)
    return f"{day} {format_time(rest)}{zone}{era}"


def format_nanoseconds(nanoseconds: int, *, zone: str = "+00") -> str:
    """As ``format_microseconds``, of nanoseconds; digits that are not zero are all kept.

    Raises:
        Unfit: timestamptz does not reach that far.
    """
    microseconds, rest = divmod(nanoseconds, 1000)
    if rest == 0:
        return format_microseconds(microseconds, zone=zone)
    second, fraction = divmod(nanoseconds, 1_000_000_000)
    head, tail = format_microseconds(second * 1_000_000, zone=zone).split(".000", 1)
    return f"{head}.{fraction:09d}{tail}"


def format_days(days: int) -> str:
    """Days since the epoch as an ISO date.

    Raises:
        Unfit: date does not reach that far.
    """
    if not _DAYS_MIN <= days < _DAYS_END:
        raise Unfit(Reason.OUT_OF_RANGE)
    return "".join(_calendar(days))


def format_time(microseconds: int) -> str:
    """Microseconds since midnight as an ISO time; 24:00:00 is one."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    places = f"{fraction // 1000:03d}" if fraction % 1000 == 0 else f"{fraction:06d}"
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{places}"


def _calendar(days: int) -> tuple[str, str]:
    """Year, month and day, and the era that stands at the end."""
    cycles, day = divmod(days + _DAYS_TO_EPOCH, _DAYS_A_CYCLE)
    in_cycle = date.fromordinal(day + 1)
    year = in_cycle.year + cycles * _YEARS_A_CYCLE
    return f"{year if year > 0 else 1 - year:04d}{in_cycle:-%m-%d}", "" if year > 0 else " BC"
