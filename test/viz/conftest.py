"""Fixtures over the made-up drive of `viz_drive`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from viz_drive import camera, recording, tick

__all__ = ["camera", "recording", "tick"]
