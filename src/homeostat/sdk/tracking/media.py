"""Images and sound."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeostat.domain.errors import BadRequest
from homeostat.sdk.tracking.png import png
from homeostat.sdk.tracking.told import Told, array_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Image:
    """An image.

    Args:
        data: An array of shape (height, width) or (height, width, 1, 3 or 4), of bytes from 0 to 255 or floats from 0
            to 1; an image of Pillow; a PNG, JPEG, GIF, WebP or SVG file.
        caption: A line below it.
    """

    data: Any
    caption: str = ""

    def told(self) -> Told:
        """As PNG, a file as it is."""
        if isinstance(self.data, (str, Path)):
            path = Path(self.data)
            if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg"):
                raise BadRequest(
                    f"{path} is no image that a page can show", remedy="Give a PNG or a JPEG file"
                )
            return Told("image", {"caption": self.caption}, path.suffix.lower(), path.read_bytes())
        data = self.data
        if type(data).__module__.startswith("PIL."):
            data = data.convert("RGBA" if "A" in data.getbands() else "RGB")
        pixels = _pixels(data)
        detail = {"caption": self.caption, "width": pixels.shape[1], "height": pixels.shape[0]}
        return Told("image", detail, ".png", png(pixels))


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound.

    Args:
        data: Samples of shape (n,) or (n, channels): floats from -1 to 1, or 16-bit integers.
        rate: Samples a second.
        caption: A line below it.
    """

    data: Any
    rate: int
    caption: str = ""

    def told(self) -> Told:
        """As WAV of 16 bits."""
        import numpy as np

        samples = array_of(self.data)
        if samples.ndim not in (1, 2) or not len(samples):
            raise BadRequest(
                f"samples of shape {samples.shape} are no sound", remedy="Give (n,) or (n, channels)"
            )
        if samples.dtype.kind == "f":
            samples = np.rint(np.clip(np.nan_to_num(samples), -1, 1) * 32767)
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(channels)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(samples.astype("<i2").tobytes())
        seconds = len(samples) / self.rate
        return Told(
            "audio",
            {"caption": self.caption, "rate": self.rate, "seconds": seconds},
            ".wav",
            buffer.getvalue(),
        )


def _pixels(data: Any) -> npt.NDArray[np.uint8]:
    import numpy as np

    pixels = array_of(data)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise BadRequest(
            f"an array of shape {pixels.shape} is no image",
            remedy="Give (height, width), or (height, width, channels) with 1, 3 or 4 channels",
        )
    if pixels.dtype.kind in "fb":
        pixels = np.rint(np.clip(np.nan_to_num(pixels.astype(float)), 0, 1) * 255)
    found: npt.NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return found
