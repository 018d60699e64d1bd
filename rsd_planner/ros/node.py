"""The lifecycle node: parameters, transitions, timers; all decisions are the session's.

*configure* checks settings and checkpoint headers, starts the worker and returns while the
model loads. Status and diagnostics are published in every state. Transitions, inputs, the
tick and the watchdog run in callback groups of their own, so that none waits for another.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.node import LifecycleNodeMixin
from rclpy.node import Node
from rclpy.parameter import Parameter

from rsd_planner.config import ConfigError, PlannerSettings, read_requirements
from rsd_planner.msg import PlannerStatus
from rsd_planner.ros import qos
from rsd_planner.ros.diagnostics import diagnostics_message, fingerprint, status_message
from rsd_planner.ros.executor import PatientExecutor
from rsd_planner.ros.inputs import Inputs
from rsd_planner.ros.outputs import Outputs
from rsd_planner.ros.parameters import SettingsParameters
from rsd_planner.types import NANOSECONDS, PlanSource
from rsd_planner.worker.health import PlannerState
from rsd_planner.worker.session import PlanningSession, TickOutput

__all__ = ["PlannerNode", "main"]

WATCH_S = 0.1
STATUS_S = 1.0
STEP_BACK_S = 0.5  # of the clock; less is no jump
BEYOND_REPAIR = (
    PlannerState.FAULT,
    "a transition failed unexpectedly, and so did the repair; its log says why; end the process, "
    "start it anew",
)
NOT_CONFIGURED = (PlannerState.WAITING, "not configured: configure the node")
SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
Transition = Callable[["PlannerNode", LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """rclpy turns an exception in a transition into ERROR and drops it; this logs it first."""

    @functools.wraps(transition)
    def logged(node: PlannerNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__}: {traceback.format_exc()}")
            if transition.__name__ == "on_error":
                node._without_session = BEYOND_REPAIR
            return TransitionCallbackReturn.ERROR

    return logged


class PlannerNode(LifecycleNodeMixin, Node):
    """See DESIGN §6 for topics, states and transitions."""

    def __init__(self, **arguments: object) -> None:
        Node.__init__(self, "rsd_planner", **arguments)
        # Reentrant, so that get_state answers while a transition runs.
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self._schema = SettingsParameters(self)
        self._settings: PlannerSettings | None = None
        self._session: PlanningSession | None = None
        self._ending: list[PlanningSession] = []
        self._inputs: Inputs | None = None
        self._outputs: Outputs | None = None
        self._tick_timer: Any = None
        self._changing = threading.RLock()  # settings: transitions and set_parameters take turns
        self._without_session = NOT_CONFIGURED  # what the status says then
        self._complaints: dict[str, None] = {}  # mismatched QoS, in order
        self._complaints_lock = threading.Lock()
        self._watched_ns = 0
        self._published = (0, "")
        self._published_s = 0.0
        topic = self.resolve_topic_name("~/output/status")
        self._status_publisher = self.create_publisher(
            PlannerStatus, topic, qos.status_qos(), **qos.publisher_options(topic, self._complain)
        )
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        watching = MutuallyExclusiveCallbackGroup()
        self._watch_timer = self.create_timer(
            WATCH_S,
            self._watch,
            callback_group=watching,
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self._source: PlanSource | None = None  # of the newest trajectory
        self._news = self.create_guard_condition(self._watch, callback_group=watching)

    # -- transitions ---------------------------------------------------------------------

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Checks everything that can be checked at once, and starts the worker."""
        try:
            with self._changing:
                self._configure()
        except ConfigError as error:
            self._without_session = (PlannerState.FAULT, str(error))
            self.get_logger().error(f"cannot configure: {error}")
            self._release()
            return FAILURE
        return super().on_configure(state)

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the ticks, also while the model still loads."""
        if self._session is None or self._settings is None:
            return FAILURE
        result = super().on_activate(state)
        self._session.activate()
        self._tick_timer = self.create_timer(
            self._settings.period_s,
            self._session.tick,
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the ticks and drops what is in flight; the worker stays warm."""
        self._stop_ticks()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends the worker in the background."""
        self._without_session = NOT_CONFIGURED
        self._release()
        return super().on_cleanup(state)

    @_logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Ends everything, from any state. The process stays, and says so."""
        self._without_session = (PlannerState.WAITING, "shut down: end the process, start it anew")
        self._release()
        return super().on_shutdown(state)

    @_logged
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a bug in a transition: back to unconfigured, with nothing left running. Where
        that fails too, the node is finalized, and its worker ends all the same."""
        words = f"a transition from {state.label} failed unexpectedly; its log says why"
        self._release()
        super().on_error(state)
        self._without_session = (PlannerState.FAULT, f"{words}; configure the node again")
        self.get_logger().error(f"{words}; back to unconfigured")
        return SUCCESS

    def close(self) -> None:
        """Before the process ends: waits until no worker is left."""
        with contextlib.suppress(Exception):  # logged already; what matters is the workers
            self._release()
        until_s = time.monotonic() + 3.0
        for session in self._ending:
            session.close(max(0.1, until_s - time.monotonic()))

    def _configure(self) -> None:
        settings = self._schema.settings()
        requirements = read_requirements(settings.model_path)
        python = settings.worker_python or sys.executable
        if shutil.which(python) is None:
            raise ConfigError(
                f"worker_python '{python}' is no executable; give the path of a Python with "
                "torch (`ros2 run rsd_planner setup_worker` makes one)."
            )
        self._settings = settings
        self._session = PlanningSession(
            settings,
            requirements,
            self._publish,
            self._ros_now_ns,
            self._log_worker,
            undisturbed=self._undisturbed,
            tell=self._tell,
        )
        self._outputs = Outputs(self, settings, self._complain)
        self._inputs = Inputs(
            self, settings, self._session, self._complain, requirements.picture_px
        )
        self._session.start()
        self.get_logger().info(
            f"model {settings.model_path} on {settings.device}, drafter {settings.drafter}, "
            f"cameras {', '.join(settings.all_cameras)}; the model is loading"
        )

    def _stop_ticks(self) -> None:
        timer, self._tick_timer = self._tick_timer, None
        try:
            if timer is not None:
                self.destroy_timer(timer)
        finally:
            self._source = None
            if self._session is not None:
                self._session.deactivate()

    def _release(self) -> None:
        """Back to how it was before configure. Every part is tried, whatever another raises."""
        with self._changing, contextlib.ExitStack() as parts:  # what is named last is done first
            session, self._session = self._session, None
            inputs, self._inputs = self._inputs, None
            outputs, self._outputs = self._outputs, None
            self._settings = None
            for part in (outputs, inputs):
                if part is not None:
                    parts.callback(part.destroy)
            if session is not None:
                self._ending = [*self._ending[-3:], session]
                parts.callback(session.close, 0.0)
            parts.callback(self._stop_ticks)
        with self._complaints_lock:
            self._complaints.clear()
        _give_back_memory()

    # -- callbacks -----------------------------------------------------------------------

    def _publish(self, output: TickOutput) -> None:
        """Called by the session, from the tick's or the worker client's thread."""
        outputs = self._outputs
        if outputs is not None:
            outputs.publish(output)

    def _tell(self, output: TickOutput | None) -> None:
        """Called after `_publish`, or with None when nothing is left to follow, in the same
        thread."""
        if output is None:
            self._source = None
            self._news.trigger()
            return
        outputs, inputs, settings = self._outputs, self._inputs, self._settings
        if outputs is None or inputs is None or settings is None:
            return
        outputs.publish_text(output)
        if output.followable.source is not self._source:
            self._source = output.followable.source
            self._news.trigger()  # the status need not wait for the next look
        if settings.publish_debug:
            outputs.publish_views(output, inputs.camera_models)

    def _watch(self) -> None:
        """Ten times a second on the steady clock, and at once when the source of the plan changes:
        status on news, and once a second anyway."""
        now_ns = self._ros_now_ns()
        self._wake_ticks(now_ns)
        session, inputs = self._session, self._inputs
        health = session.watch() if session is not None else None
        with self._complaints_lock:
            reasons = list(self._complaints)
        if health is not None:
            state = health.state
            reasons = [*health.reasons, *reasons]
        else:
            state, reason = self._without_session
            reasons = [reason]
        now_s = time.monotonic()
        news = fingerprint(state, reasons, health)
        if news == self._published and now_s - self._published_s < STATUS_S:
            return
        self._published, self._published_s = news, now_s
        topics = inputs.topics if inputs is not None else {}
        self._status_publisher.publish(status_message(now_ns, state, reasons, health, topics))
        name = self.get_fully_qualified_name().lstrip("/")
        self._diagnostics_publisher.publish(
            diagnostics_message(now_ns, name, state, reasons, health)
        )

    def _wake_ticks(self, now_ns: int) -> None:
        """A timer waits for its next time, also when the system's clock was put back by an hour.
        (Of simulated time it learns by itself, and another start would only hold it up.)"""
        timer = self._tick_timer
        back = now_ns < self._watched_ns - STEP_BACK_S * NANOSECONDS
        if timer is not None and back and not self.get_parameter("use_sim_time").value:
            timer.reset()
        self._watched_ns = now_ns

    def _on_set_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        with self._changing:
            try:
                settings = self._schema.changed(parameters, self._settings)
            except ConfigError as error:
                return SetParametersResult(successful=False, reason=str(error))
            if settings is not None and self._session is not None:
                self._settings = settings
                self._session.update(settings)
            return SetParametersResult(successful=True)

    def _complain(self, text: str) -> None:
        with self._complaints_lock:
            new = text not in self._complaints
            self._complaints[text] = None
        if new:
            self.get_logger().warning(text)

    def _undisturbed(self) -> AbstractContextManager[None]:
        executor = self.executor
        return executor.quiet() if isinstance(executor, PatientExecutor) else nullcontext()

    def _log_worker(self, line: str) -> None:
        self.get_logger().info(line)

    def _ros_now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


SWITCH_INTERVAL_S = 0.0001
# Pictures are read in these threads, one for each camera; get_state and the timers answer only
# while one is left, so this is more than a car has cameras. A thread is made when first needed.
THREADS = 16


def _spin(node: PlannerNode, executor: PatientExecutor) -> None:
    """Until a signal. What a callback raises is logged: older rclpy let a refused transition
    raise through the executor, and that must not end the node."""
    while rclpy.ok():
        try:
            executor.spin()
        except (KeyboardInterrupt, ExternalShutdownException):
            return
        except Exception:
            if not rclpy.ok():
                return  # a callback met the middleware that a signal has just shut down
            node.get_logger().error(f"a callback failed: {traceback.format_exc()}")
            time.sleep(0.01)


def _give_back_memory() -> None:
    """What was freed goes back to the system: pictures leave holes in the heap that stay."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until it is told to stop. The exit code is 0 after SIGINT and SIGTERM."""
    # The executor's own thread is busy in Python for each message; the default of 5 ms lets it
    # hold up the thread that publishes a plan.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    cv2.setNumThreads(1)  # its threads would wait for cores that the model holds
    rclpy.init(args=arguments)
    node = PlannerNode()
    # What was made until now lives for ever; collecting it again and again costs 10 ms a time.
    gc.collect()
    gc.freeze()
    executor = PatientExecutor(num_threads=THREADS)
    executor.add_node(node)
    try:
        _spin(node, executor)
    finally:
        node.close()
        executor.shutdown(timeout_sec=0.5)
        node.destroy_node()
        rclpy.try_shutdown()
        gc.unfreeze()  # what is frozen never ends, and with it 70 MB would stay in /dev/shm
    return 0


if __name__ == "__main__":
    sys.exit(main())
