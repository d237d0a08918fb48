"""The task `notify`: tell somebody, by a web hook, in a Slack channel, in a file or in the log of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from flujo.workflows.blocking import may_block
from flujo.workflows.http_rules import problem_with_url
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.texts import as_text

from .files import TEXT, confined, write_text
from .moving_files import append

CHANNELS: dict[str, tuple[str, ...]] = {
    "webhook": ("url", "method", "headers", "payload"),
    "slack": ("webhook_url", "username", "icon_emoji", "color"),
    "log": ("level", "file"),
    "file": ("file", "append", "format"),
}
"""What each channel takes besides the message."""

_NEEDED = {"webhook": "url", "slack": "webhook_url", "file": "file"}
_OVER_HTTP = ("webhook", "slack")


def _check(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Tell of inputs that do not go with the channel, and of a channel for which something is missing."""
    channel = inputs.get("channel")
    if channel not in CHANNELS:
        return {}
    if channel in _OVER_HTTP and find_spec("httpx") is None:
        return {"channel": f"{channel} needs httpx, which is not installed: pip install 'flujoctl[http]'"}
    found = {
        name: f"is for the channel {' or '.join(each for each, taken in CHANNELS.items() if name in taken)}"
        for name in inputs
        if name not in ("channel", "message", *CHANNELS[channel])
    }
    if (needed := _NEEDED.get(channel)) is not None:
        meant = next((name for name in found if name in _NEEDED.values()), None)
        if needed in inputs:
            found |= {} if (problem := _problem_with(needed, inputs)) is None else {needed: problem}
        elif meant is not None:
            found[meant] += f"; for {channel} write `{needed}`"
        else:
            found[needed] = f"is needed for the channel {channel}"
    return found


def _problem_with(needed: str, inputs: Mapping[str, Any]) -> str | None:
    return None if needed == "file" else problem_with_url(inputs[needed])


@task(
    "notify",
    inputs={
        "channel": {"type": "string", "enum": list(CHANNELS), "required": True},
        "message": {"default": ""},
        "url": {"type": "string", "minLength": 1},
        "method": {"type": "string"},
        "headers": {"type": "object"},
        "payload": {},
        "webhook_url": {"type": "string", "minLength": 1},
        "username": {"type": "string"},
        "icon_emoji": {"type": "string"},
        "color": {"type": "string"},
        "level": {"type": "string", "enum": ["debug", "info", "warning", "error"]},
        "file": {"type": "string", "minLength": 1},
        "append": {"type": "boolean"},
        "format": {"type": "string", "enum": ["jsonl", "text"]},
    },
    spellings={"path": "file", "output_file": "file"},
    check=_check,
    result={
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("channel", "status", "message")},
            "status_code": {"type": "integer"},
        },
    },
)
async def notify(call: TaskCall) -> dict[str, Any]:
    """Send a message; return {channel, status, message}, over HTTP with the status_code as well."""
    channel, message = call.inputs["channel"], as_text(call.inputs["message"])
    if wrong := _check(call.inputs):
        raise ValueError("; ".join(f"`{name}` {problem}" for name, problem in wrong.items()))
    told = {"channel": channel, "status": "sent", "message": message}
    if channel in _OVER_HTTP:
        return {**told, "status_code": await _post(call, message)}
    if channel == "log":
        level = call.inputs.get("level", "info")
        call.log.write(f"{level}: {message}")
    if "file" in call.inputs:
        await _write(call, message)
    return told


async def _post(call: TaskCall, message: str) -> int:
    from .http_request import ask, http_request

    given = call.inputs
    if given["channel"] == "slack":
        sent = {"url": given["webhook_url"], "json": _for_slack(given, message)}
    else:
        sent = {"url": given["url"], "json": given.get("payload", {"text": message})}
        sent |= {name: given[name] for name in ("method", "headers") if name in given}
    answer = await ask(call, http_request.checked(sent))
    status: int = answer["status_code"]
    return status


def _for_slack(given: Mapping[str, Any], message: str) -> dict[str, Any]:
    payload = {name: given[name] for name in ("username", "icon_emoji") if name in given}
    if "color" in given:
        return {**payload, "attachments": [{"color": given["color"], "text": message, "fallback": message}]}
    return {**payload, "text": message}


async def _write(call: TaskCall, message: str) -> None:
    is_jsonl = call.inputs["channel"] == "file" and call.inputs.get("format", "jsonl") == "jsonl"
    entry = {"message": message, "workflow": call.context["workflow_name"], "run": call.attempt.run_id}
    line = f"{json.dumps(entry, ensure_ascii=False) if is_jsonl else message}\n"
    path = await may_block(lambda _: confined(call.inputs["file"], call.workspace, allow_outside=False))
    encoding = TEXT["encoding"]["default"]
    if call.inputs.get("append", True):
        await may_block(lambda given_up: append(path, line.encode(encoding), given_up))
    else:
        await may_block(lambda given_up: write_text(path, line, encoding, given_up))
