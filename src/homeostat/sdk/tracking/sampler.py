"""What the machine does while a run goes on, under the names that MLflow gives to system metrics."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

_MEGA: Final = 1e6
_LIBRARIES: Final = ("libnvidia-ml.so.1", "nvml.dll")


class Sampler:
    """Reads processors, memory, disk, network, this process, and NVIDIA's GPUs where there are any."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._gpus = Gpus.found()
        self._network = psutil.net_io_counters()
        psutil.cpu_percent()  # the first call gives nothing, later ones what was used since
        self._process.cpu_percent()

    def sample(self) -> dict[str, float]:
        """Values since the last sample, or as they are now, by name."""
        psutil = self._psutil
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage("."), psutil.net_io_counters()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGA,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_megabytes": disk.used / _MEGA,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / _MEGA,
            "process_cpu_percentage": self._process.cpu_percent(),
            "process_memory_megabytes": self._process.memory_info().rss / _MEGA,
        }
        if network is not None and self._network is not None:
            values["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / _MEGA
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / _MEGA
        if self._gpus is not None:
            values |= self._gpus.sample()
        return {f"system/{name}": float(value) for name, value in values.items()}


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Gpus:
    """NVIDIA's GPUs by way of NVML, the library of their driver.

    Args:
        nvml: The library, initialised.
    """

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        count = ctypes.c_uint()
        self._handles: list[Any] = []
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
            for number in range(count.value):
                handle = ctypes.c_void_p()
                if nvml.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)) == 0:
                    self._handles.append(handle)

    @classmethod
    def found(cls) -> Gpus | None:
        """Those of this machine; None where the driver is not there."""
        for name in _LIBRARIES:
            with suppress(OSError):
                nvml = ctypes.CDLL(name)
                return cls(nvml) if nvml.nvmlInit_v2() == 0 else None
        return None

    def sample(self) -> dict[str, float]:
        """Values as they are now, by name; what a GPU does not tell is left out."""
        return {
            f"gpu_{number}_{name}": value
            for number, handle in enumerate(self._handles)
            for name, value in self._one(handle)
        }

    def _one(self, handle: Any) -> Iterator[tuple[str, float]]:
        nvml = self._nvml
        used, memory, power = _Utilization(), _Memory(), ctypes.c_uint()
        if nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(used)) == 0:
            yield "utilization_percentage", used.gpu
        if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0:
            yield "memory_usage_megabytes", memory.used / _MEGA
            yield "memory_usage_percentage", 100 * memory.used / max(memory.total, 1)
        if nvml.nvmlDeviceGetPowerUsage(handle, ctypes.byref(power)) == 0:
            yield "power_usage_watts", power.value / 1000
