"""Lets older pip and colcon find the project; everything else is in pyproject.toml."""

from setuptools import setup

setup()
