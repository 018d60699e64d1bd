"""The parameter files name parameters that exist, with values that are allowed."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from rsd_planner.config import PlannerSettings

CONFIG = Path(__file__).resolve().parents[2] / "config"
FASTDDS = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_parameter_file_fits_the_schema(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert list(content) == ["/**"], "applies in every namespace"
    PlannerSettings.from_mapping(content["/**"]["ros__parameters"])


def test_profile_gives_room_for_images() -> None:
    root = ElementTree.parse(CONFIG / "fastdds.xml").getroot()
    sizes = {
        name: int(root.findtext(f".//{FASTDDS}{name}", "0"))
        for name in ("segment_size", "maxMessageSize")
    }
    assert sizes == {"segment_size": 64 << 20, "maxMessageSize": 16 << 20}


def test_rviz_layout_is_yaml_with_relative_topics() -> None:
    layout = yaml.safe_load((CONFIG / "planner.rviz").read_text())
    displays = layout["Visualization Manager"]["Displays"]
    topics = [display["Topic"]["Value"] for display in displays if "Topic" in display]
    assert len(topics) == 3
    assert all(topic.startswith("rsd_planner/") for topic in topics)


def test_foxglove_layout_shows_topics_of_the_node_and_places_every_panel() -> None:
    text = (CONFIG / "foxglove_layout.json").read_text()
    layout = json.loads(text)
    policy = (CONFIG / "sros2" / "policy.xml").read_text().replace("~/", "/rsd_planner/")
    known = set(re.findall(r"<topic>(.*?)</topic>", policy))
    shown = set(re.findall(r'"(/[a-z_/]+)', text))
    assert shown - known == set()

    def panels(part: object) -> list[str]:
        if isinstance(part, str):
            return [part]
        assert isinstance(part, dict)
        return panels(part["first"]) + panels(part["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_parameter_in_a_file_is_explained(path: Path) -> None:
    lines = path.read_text().splitlines()
    for before, line in zip(lines, lines[1:]):
        if re.match(r"    \w+:", line):
            assert "#" in line or before.strip().startswith("#"), line
