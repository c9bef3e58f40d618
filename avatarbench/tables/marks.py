"""How best and second look. What is best is computed once, in :func:`avatarbench.statistics.rank`."""

from __future__ import annotations

from typing import Literal

Style = Literal["bold", "colour"]
"""``bold``: best in bold, second underlined; ``colour``: best in red, second in blue, as some papers print them."""
