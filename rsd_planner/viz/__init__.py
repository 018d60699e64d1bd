"""What a person sees: overlays, video, report pages and terminal views.

Knows the values of `types` and nothing about ROS, torch or bags.
"""
