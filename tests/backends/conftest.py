"""What the tests of several backends share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("flujo.backends.conformance")
