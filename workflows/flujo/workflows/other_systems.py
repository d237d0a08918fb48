"""The words of other systems for the keys of a definition: what they are called here, for error messages."""

from __future__ import annotations

OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("continueOn", "continue_on", "continue_on_error", "continue-on-error", "ignore_errors"),
                    "`on_error: continue`"),
    **dict.fromkeys(("needs", "after", "requires", "dependencies", "dependsOn", "depends"), "`depends_on: [STEP]`"),
    **dict.fromkeys(("when", "if", "only_if", "unless", "precondition", "preconditions"), "`condition: EXPRESSION`"),
    **dict.fromkeys(("foreach", "forEach", "matrix", "with_items", "loop", "parallel"),
                    "`for_each: LIST`"),
    **dict.fromkeys(("run", "script", "cmd", "shell", "exec", "bash"),
                    "`task: shell` with `inputs: {command: …}`"),
    **dict.fromkeys(("uses", "action", "type", "module"), "`task: NAME`"),
    **dict.fromkeys(("working_dir", "working-directory", "workdir", "cwd", "dir", "stdin"),
                    "`inputs: {…}` of task `shell`, as `working_dir` or `stdin`"),
    **dict.fromkeys(("environment", "envs"), "`env: {NAME: VALUE}`"),
    **dict.fromkeys(("retries", "max_retries", "retryPolicy", "retry_policy", "attempts"), "`retry: N`"),
    **dict.fromkeys(("status_codes", "retry_on_status", "statuses"), "`on_status: [429, 5xx]`"),
    **dict.fromkeys(("with", "args", "arguments", "parameters", "params_", "vars", "variables"), "`inputs: {…}`"),
    **dict.fromkeys(("id", "title"), "`name`"),
    **dict.fromkeys(("jobs", "tasks", "stages", "workflow"), "`steps: […]`"),
    **dict.fromkeys(("on", "schedule", "cron"), "nothing here: start runs from cron or a timer"),
    **dict.fromkeys(("finally", "cleanup", "post", "onExit", "always"), "a step with `always_run: true`"),
}  # fmt: skip
"""What the words of other systems for a key are called here."""
