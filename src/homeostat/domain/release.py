"""Which Homeostat this is, for those below the public API, where ``homeostat.__version__`` says the same."""

from typing import Final

VERSION: Final = "0.1.0"
