"""A planner node that is slow or raises where a test says so, in a file that it reads each time.

`{"on_activate": "raise", "on_error": "sleep 0.5", "picture": "sleep 2"}`: transitions are hurt
after they have done their work, pictures before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from rsd_planner.ros import node
from rsd_planner.worker.session import PlanningSession

HURTS = "RSD_TEST_HURTS"  # path of the file
TRANSITIONS = ("configure", "activate", "deactivate", "cleanup", "shutdown", "error")


def hurt(name: str) -> None:
    try:
        orders = json.loads(Path(os.environ[HURTS]).read_text())
    except OSError:  # without a file descriptor it is hurt enough
        return
    order, _, value = orders.get(name, "").partition(" ")
    if order == "sleep":
        time.sleep(float(value))
    elif order == "raise":
        raise RuntimeError(f"{name} is hurt")


def after_work(name: str) -> Any:
    plain = getattr(node.PlannerNode, name)

    def transition(self: Any, state: Any) -> Any:
        result = plain(self, state)
        hurt(name)
        return result

    transition.__name__ = name
    return node._logged(transition)


HurtNode: Any = type(
    "HurtNode",
    (node.PlannerNode,),
    {f"on_{name}": after_work(f"on_{name}") for name in TRANSITIONS},
)


def slow_picture(session: PlanningSession, *arguments: Any) -> Any:
    hurt("picture")
    return add_frame(session, *arguments)


if __name__ == "__main__":
    add_frame = PlanningSession.add_frame
    PlanningSession.add_frame = slow_picture
    node.PlannerNode = HurtNode
    sys.exit(node.main())
