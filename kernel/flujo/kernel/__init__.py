"""The durable kernel: declare steps and workflows, open a `Kernel` on a backend, start and resume runs.

This module is the table of contents of the package; everything here is public, and everything public is here.
"""

from .api import CancelOutcome as CancelOutcome
from .api import Delivery as Delivery
from .api import PauseOutcome as PauseOutcome
from .api import Pruned as Pruned
from .api import RunHandle as RunHandle
from .api import Runs as Runs
from .api import StoredRuns as StoredRuns
from .attempt import Attempt as Attempt
from .attempt import Wait as Wait
from .attempt import current_attempt as current_attempt
from .backend import Order as Order
from .backend import RunFilter as RunFilter
from .backend import RunSummary as RunSummary
from .backend import StateBackend as StateBackend
from .backend import StoredDefinition as StoredDefinition
from .clock import Clock as Clock
from .clock import SystemClock as SystemClock
from .context import Context as Context
from .errors import FlujoError as FlujoError
from .errors import RunCancelled as RunCancelled
from .errors import RunFailed as RunFailed
from .errors import RunInterrupted as RunInterrupted
from .errors import RunNotFoundError as RunNotFoundError
from .errors import RunPaused as RunPaused
from .errors import StateIncompatibilityError as StateIncompatibilityError
from .errors import StepFailed as StepFailed
from .errors import StoreError as StoreError
from .events import Event as Event
from .explanation import Explanation as Explanation
from .explanation import Reason as Reason
from .explanation import Why as Why
from .filters import Instant as Instant
from .kernel import Kernel as Kernel
from .observer import Observer as Observer
from .programs import Beginning as Beginning
from .programs import Step as Step
from .programs import Workflow as Workflow
from .programs import step as step
from .programs import workflow as workflow
from .retention import Retention as Retention
from .retry import RetryPolicy as RetryPolicy
from .state import Progress as Progress
from .state import RunStatus as RunStatus
from .state import StepState as StepState
from .state import StepStatus as StepStatus
from .state import WorkflowState as WorkflowState
from .statistics import Statistics as Statistics
from .statistics import StepDurations as StepDurations
from .statistics import WorkflowStatistics as WorkflowStatistics
