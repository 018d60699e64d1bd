"""rsd_planner: a VLA driving planner with reasoning-aware speculative decoding."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
