"""Reads and writes rosbag2 recordings (MCAP, sqlite3) where no ROS is installed.

`open_bag` reads pictures, odometry and camera models, or the raw messages for playing them
into ROS; `BagWriter` writes a bag that `ros2 bag play` takes. Knows nothing of the planner.
"""

from rsd_planner.bags.errors import BagError
from rsd_planner.bags.reader import Bag, RawMessage, TopicInfo, open_bag
from rsd_planner.bags.writer import BagWriter

__all__ = ["Bag", "BagError", "BagWriter", "RawMessage", "TopicInfo", "open_bag"]
