"""Estimates of energy, emissions and cost while a run goes on, by codecarbon where it is installed (an extra).

It measures by the counters of processors and GPUs where the machine lets it, else from their rated power and how much
they are used: the processors and memory of this process, GPUs as a whole. Nothing here or in it uses the network:
the carbon intensity of a country's electricity comes with the package.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from homeostat.app.settings import Settings

_EVERY: Final = 10.0  # seconds between two measurements

_log = logging.getLogger("homeostat")


@dataclass(frozen=True)
class Tariff:
    """Where energy is used, and what it costs there.

    Args:
        country: The country by ISO 3166 in three letters; empty: the world's mean.
        price: Of a kilowatt hour; None: it is not known.
        currency: Of the price.
    """

    country: str = ""
    price: float | None = None
    currency: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Tariff:
        """As the settings say."""
        price, _, currency = settings.energy_price.partition(" ")
        return cls(settings.country, float(price) if price else None, currency)


class Energy:
    """Measures from ``start`` on, in threads of codecarbon's own.

    Args:
        tariff: Where, and at which price.
    """

    def __init__(self, tariff: Tariff) -> None:
        self._tariff = tariff
        self._total: Any = None
        self._tracker: Any = None
        self._ended = threading.Event()

    @staticmethod
    def installed() -> str:
        """The version of codecarbon; empty where it is not installed."""
        try:
            return version("codecarbon")
        except PackageNotFoundError:
            return ""

    def start(self) -> None:
        """Begin; looking at the machine takes seconds, and nobody waits for it."""
        threading.Thread(target=self._begin, name="homeostat-energy", daemon=True).start()

    def tags(self) -> dict[str, str]:
        """How it is estimated."""
        tags = {
            "homeostat.energy": f"codecarbon {self.installed()}",
            "homeostat.energy.country": self._tariff.country or "world",
        }
        if self._tariff.price is not None:
            tags["homeostat.energy.price"] = f"{self._tariff.price:g} {self._tariff.currency}".strip()
        return tags

    def sample(self) -> dict[str, float]:
        """What was used since the beginning, by name; empty before the first measurement.

        Energy is in kWh, emissions are in kg of CO2 equivalents, the cost is in the price's currency.
        """
        if self._tracker is None:
            return {}
        self._tracker.flush()
        return self._told()

    def close(self) -> dict[str, float]:
        """End; what was used in all."""
        self._ended.set()
        if self._tracker is None:
            return {}
        self._tracker.stop()
        return self._told()

    def _begin(self) -> None:
        try:
            from codecarbon import OfflineEmissionsTracker
            from codecarbon.output_methods.base_output import BaseOutput
        except ImportError as error:
            _log.warning("codecarbon is installed and cannot be used: %s", error)
            return
        logging.getLogger("codecarbon").setLevel(logging.ERROR)  # else it prints while it is made
        energy = self

        class Output(BaseOutput):
            def out(self, total: Any, delta: Any) -> None:
                energy._total = total

        tracker = OfflineEmissionsTracker(
            country_iso_code=self._tariff.country or None,
            allow_multiple_runs=True,
            electricitymaps_api_token="",  # else a user's own configuration would lead into the network
            emissions_endpoint=None,
            log_level="error",
            measure_power_secs=_EVERY,
            output_handlers=[Output()],
            output_methods=[],
            tracking_mode="process",
        )
        tracker.start()
        if self._ended.is_set():  # the run was shorter than that
            tracker.stop()
        else:
            self._tracker = tracker

    def _told(self) -> dict[str, float]:
        if self._total is None:
            return {}
        used = float(self._total.energy_consumed)
        told = {"energy_kilowatt_hours": used, "emissions_kilograms": float(self._total.emissions)}
        if self._tariff.price is not None:
            told["energy_cost"] = used * self._tariff.price
        return {f"system/{name}": value for name, value in told.items()}
