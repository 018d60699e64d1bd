"""The world that the mini model lives in: traffic, pictures, and the narrator's texts.

`world` moves the traffic, `camera` draws it, `narrator` explains it, `record` writes drives
down. Needs the extra `sim` (libsumo, panda3d); knows nothing of the planner, torch or ROS.
"""
