"""Every error a user can see, with its wording and what to type next.

One class per situation, fields instead of text to parse. `hints` holds the commands or edits that help, most useful
first; the command line prints them under the message, and `reason` is the stable machine name of the class.

Each class belongs to this module, whichever file declares it: its full name, `flujo.kernel.errors.RunFailed`, is
recorded where it ends a step, and people write it in retry rules (`tests/kernel/test_errors.py`).
"""

from __future__ import annotations

from .arguments import (
    DeclarationError,
    DefinitionError,
    InvalidDurationError,
    InvalidExportError,
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    OutputTooLargeError,
    PayloadTooLargeError,
    Problem,
    TaskNotFoundError,
    UnsafeStepNameError,
    WorkflowNotFoundError,
)
from .base import FlujoError
from .outcomes import RunCancelled, RunFailed, RunInterrupted, RunPaused, StepFailed, ways_on
from .runs import (
    CursorError,
    Difference,
    Remedies,
    RequestReusedError,
    RunActiveError,
    RunDeletedError,
    RunExistsError,
    RunFinishedError,
    RunNotFoundError,
    RunNotPausedError,
    RunNotResumableError,
    RunReplacedError,
    StateIncompatibilityError,
    StateNotRecordableError,
    StepCompletedError,
    StepNotFoundError,
    UnknownEventError,
)
from .servers import (
    AddressInUseError,
    CallFailedError,
    CallTimeoutError,
    InvalidAddressError,
    ServerFailedError,
    ServerUnreachableError,
)
from .stores import (
    CorruptStoreError,
    ForeignStoreError,
    NewerStoreError,
    OlderStoreError,
    StoreBusyError,
    StoreError,
    StoreExistsError,
    StoreFullError,
    StoreInUseError,
    StoreNotFoundError,
    StoreUrlError,
)
from .surroundings import (
    BlockingCallError,
    ExtraMissingError,
    KernelClosedError,
    UnsupportedEventLoopError,
    UntrustedOwnerError,
    WrongEventLoopError,
)

__all__ = [
    "AddressInUseError",
    "BlockingCallError",
    "CallFailedError",
    "CallTimeoutError",
    "CorruptStoreError",
    "CursorError",
    "DeclarationError",
    "DefinitionError",
    "Difference",
    "ExtraMissingError",
    "FlujoError",
    "ForeignStoreError",
    "InvalidAddressError",
    "InvalidDurationError",
    "InvalidExportError",
    "InvalidInputError",
    "InvalidNameError",
    "InvalidValueError",
    "KernelClosedError",
    "NewerStoreError",
    "OlderStoreError",
    "OutputTooLargeError",
    "PayloadTooLargeError",
    "Problem",
    "Remedies",
    "RequestReusedError",
    "RunActiveError",
    "RunCancelled",
    "RunDeletedError",
    "RunExistsError",
    "RunFailed",
    "RunFinishedError",
    "RunInterrupted",
    "RunNotFoundError",
    "RunNotPausedError",
    "RunNotResumableError",
    "RunPaused",
    "RunReplacedError",
    "ServerFailedError",
    "ServerUnreachableError",
    "StateIncompatibilityError",
    "StateNotRecordableError",
    "StepCompletedError",
    "StepFailed",
    "StepNotFoundError",
    "StoreBusyError",
    "StoreError",
    "StoreExistsError",
    "StoreFullError",
    "StoreInUseError",
    "StoreNotFoundError",
    "StoreUrlError",
    "TaskNotFoundError",
    "UnknownEventError",
    "UnsafeStepNameError",
    "UnsupportedEventLoopError",
    "UntrustedOwnerError",
    "WorkflowNotFoundError",
    "WrongEventLoopError",
    "ways_on",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
