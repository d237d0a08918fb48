"""The words of other systems for keys, tasks and types: what they are called here, for error messages."""

from __future__ import annotations

OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("continueOn", "continue_on", "continue_on_error", "continue-on-error", "ignore_errors",
                     "allow_failure", "allow-failure", "failure_allowed"),
                    "`on_error: continue`"),
    **dict.fromkeys(("on_failure", "onFailure", "onError", "catch", "rescue"), "`on_error: …`"),
    **dict.fromkeys(("register", "output", "result", "save_as"),
                    "nothing: `steps.NAME.result` is what a step returns, and `outputs: {…}` what is made of it"),
    **dict.fromkeys(("image", "container", "runs_on", "runs-on"),
                    "`task: shell` with a command such as [docker, run, --rm, IMAGE, …]"),
    "tags": "`labels: {…}` at the top level",
    **dict.fromkeys(("notify", "notifications"), "a step with `task: notify`"),
    **dict.fromkeys(("needs", "after", "requires", "dependencies", "dependsOn", "depends"), "`depends_on: [STEP]`"),
    **dict.fromkeys(("when", "if", "only_if", "unless", "precondition", "preconditions"), "`condition: EXPRESSION`"),
    **dict.fromkeys(("foreach", "forEach", "matrix", "with_items", "loop", "parallel"),
                    "`for_each: LIST`"),
    **dict.fromkeys(("run", "script", "command", "commands", "cmd", "shell", "exec", "bash"),
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
    **dict.fromkeys(("redacted", "redact", "sensitive", "secret", "masked", "no_log", "hide_output"),
                    "`secrets: [NAME]` at the top level, which keeps its value out of all that is stored"),
}  # fmt: skip
"""What the words of other systems for a key of a step are called here."""

AT_THE_TOP = {
    **dict.fromkeys(("inputs", "with", "args", "arguments", "parameters", "params_", "vars", "variables"),
                    "`params: {NAME: DEFAULT}`"),
    **dict.fromkeys(("retries", "max_retries", "retryPolicy", "retry_policy", "attempts"),
                    "`defaults: {retry: N}`"),
    **dict.fromkeys(("continueOn", "continue_on", "continue_on_error", "continue-on-error", "ignore_errors",
                     "allow_failure", "allow-failure", "failure_allowed"),
                    "`defaults: {on_error: continue}`"),
    **dict.fromkeys(("on_failure", "onFailure", "onError", "catch", "rescue"),
                    "`on_error: …` in a step, or a step with `always_run: true`"),
    **dict.fromkeys(("register", "output", "result", "save_as"), "`outputs: {NAME: VALUE}`"),
    **dict.fromkeys(("run", "script", "command", "commands", "cmd", "shell", "exec", "bash"),
                    "`steps: [{name: NAME, task: shell, inputs: {command: …}}]`"),
    **dict.fromkeys(("redacted", "redact", "sensitive", "secret", "masked", "no_log", "hide_output"),
                    "`secrets: [NAME]`"),
    "tags": "`labels: {…}`",
}  # fmt: skip
"""The same for keys of the top level, where they mean something else, or are called otherwise, than in a step."""

IN_A_STEP = frozenset({
    *("needs", "after", "requires", "dependencies", "dependsOn", "depends", "when", "if", "only_if", "unless"),
    *("precondition", "preconditions", "foreach", "forEach", "matrix", "with_items", "loop", "parallel"),
    *("uses", "type", "module", "working_dir", "working-directory", "workdir", "cwd", "dir", "stdin"),
    *("status_codes", "retry_on_status", "statuses", "image", "container", "runs_on", "runs-on"),
})  # fmt: skip
"""What a step has and the top level has not: there the answer says so."""

TASKS_OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("bash", "sh", "command", "cmd", "exec", "run", "script", "subprocess"), "`shell`"),
    **dict.fromkeys(("python", "py", "code", "eval"), "`python_code`"),
    **dict.fromkeys(("function", "call_function"), "`python_function`"),
    **dict.fromkeys(("http", "http_get", "http_post", "request", "rest", "api", "curl", "fetch"), "`http.request`"),
    **dict.fromkeys(("print", "log", "debug", "message"), "`print_message`"),
    **dict.fromkeys(
        ("foreach", "for_each", "loop", "map", "parallel"), "`for_each: LIST` beside another task, or `batch`"
    ),
    **dict.fromkeys(("sub_workflow", "subworkflow", "run_workflow", "dag", "call"), "`workflow`"),
    **dict.fromkeys(("wait", "delay", "pause"), "`sleep`, or `wait_signal` to wait for somebody"),
    **dict.fromkeys(("approval", "approve", "manual", "gate", "signal"), "`wait_signal`"),
    **dict.fromkeys(("slack", "webhook", "log_message", "alert"), "`notify`"),
    **dict.fromkeys(("render", "jinja", "render_template"), "`template`"),
    **dict.fromkeys(("raise", "error", "abort"), "`fail`"),
}
"""What the words of other systems for a task are called here."""

TYPES_OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("str", "text", "path", "date"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double", "decimal"), "number"),
    "bool": "boolean",
    **dict.fromkeys(("list", "tuple", "sequence"), "array"),
    **dict.fromkeys(("dict", "map", "mapping", "json"), "object"),
}
"""The same for the types of parameters."""

KEYWORDS_OF_OTHER_SYSTEMS = {
    "optional": "there is no keyword `optional`: a parameter may be left out unless it says `required: true`",
    **dict.fromkeys(
        ("choices", "options", "allowed", "values", "one_of", "oneOf"),
        "the values that are allowed are listed as `enum: [a, b]`",
    ),
    "const": "one value alone is `enum: [VALUE]`",
    **dict.fromkeys(("regex", "regexp", "match"), "what a text looks like is said as `pattern: REGEX`"),
    **dict.fromkeys(("min", "ge", "gte"), "the least number is `minimum`, the least length `minLength`"),
    **dict.fromkeys(("max", "le", "lte"), "the largest number is `maximum`, the largest length `maxLength`"),
    **dict.fromkeys(("help", "desc", "doc", "title"), "text for people is `description`"),
    **dict.fromkeys(
        ("secret", "sensitive", "masked"), "an input is stored: name an environment variable in `secrets: []`"
    ),
}
"""The same for the keywords of a parameter."""
