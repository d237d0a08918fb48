"""The words of other systems for keys, tasks and types: what they are called here, for error messages."""

from __future__ import annotations

OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("continueOn", "continue_on", "continue_on_error", "continue-on-error", "ignore_errors",
                     "allow_failure", "allow-failure", "failure_allowed"),
                    "`on_error: continue`"),
    **dict.fromkeys(("on_failure", "onFailure", "onError", "catch", "rescue"), "`on_error: …`"),
    **dict.fromkeys(("register", "output", "result", "save_as"),
                    "nothing: `steps.NAME.result` is what a step returns, and `outputs: {…}` what is made of it"),
    **dict.fromkeys(("image", "container", "runs_on", "runs-on", "executor", "volumes"),
                    "`task: shell` with a command such as [docker, run, --rm, IMAGE, …]"),
    "tags": "`labels: {…}` at the top level",
    **dict.fromkeys(("notify", "notifications"), "a step with `task: notify`"),
    **dict.fromkeys(("needs", "after", "requires", "dependencies", "dependsOn", "depends", "depends-on",
                     "upstream", "upstream_task_ids", "wait_for"),
                    "`depends_on: [STEP]`"),
    **dict.fromkeys(("when", "if", "only_if", "unless", "precondition", "preconditions"), "`condition: EXPRESSION`"),
    **dict.fromkeys(("foreach", "forEach", "for-each", "with_items", "with_list", "with_dict", "with_sequence", "loop",
                     "withItems", "withParam", "withSequence", "expand"),
                    "`for_each: LIST`"),
    "matrix": "`for_each: LIST`, with an item for each combination",
    "strategy": "`for_each: LIST`, with an item for each combination of its matrix",
    "parallel": "`for_each: LIST`, or `depends_on` in steps that may run side by side",
    "loop_control": "`for_each: {items: LIST, arg_name: NAME, max_workers: N}`",
    **dict.fromkeys(("fail_fast", "failFast", "fail-fast"),
                    "nothing: once an item has failed a loop begins no other one, unless it has `on_error: continue`"),
    **dict.fromkeys(("block", "group", "sequence"), "its steps one after the other into `steps`"),
    **dict.fromkeys(("switch", "choose", "case"), "`condition: EXPRESSION` in each of the steps"),
    **dict.fromkeys(("include", "include_tasks", "import_tasks", "extends", "template"),
                    "`imports: [FILE]` at the top level, or `task: workflow`"),
    "call": "`task: workflow` for another workflow, `task: python_function` for a function",
    **dict.fromkeys(("retry_delay", "retryDelay", "retry_interval", "retryStrategy", "retry_exponential_backoff"),
                    "`retry: {max_attempts: N, delay: 5s}`"),
    **dict.fromkeys(("timeout_seconds", "timeoutSeconds", "timeout_sec", "timeoutSec", "timeout-minutes",
                     "timeout_minutes", "execution_timeout", "activeDeadlineSeconds"), "`timeout: 5m`"),
    "trigger_rule": "`always_run: true` for a step that runs whatever has failed, or `condition: EXPRESSION`",
    **dict.fromkeys(("pool", "queue", "priority", "priority_weight"),
                    "nothing: `max_parallel` at the top level says how many steps run at once"),
    **dict.fromkeys(("artifacts", "cache", "workspace_files"),
                    "nothing: the steps of a run share its workspace, the folder their commands run in"),
    **dict.fromkeys(("mailOnError", "mail_on_error", "email_on_failure", "email_on_retry"),
                    "a step with `task: notify` and `always_run: true`"),
    **dict.fromkeys(("signalOnStop", "stopSignal", "kill_signal"), "`stop_signal` under the `inputs` of task `shell`"),
    **dict.fromkeys(("hosts", "delegate_to", "become", "become_user", "remote_user", "run_as"),
                    "nothing: commands run on this machine, as the user who runs flujo; or call ssh or sudo"),
    **dict.fromkeys(("repeatPolicy", "repeat_policy", "poke_interval", "wait_until"),
                    "`repeat: {until: EXPRESSION, interval: 10s}`"),
    **dict.fromkeys(("run", "script", "command", "commands", "cmd", "shell", "exec", "bash", "bash_command",
                     "shell_command"),
                    "`task: shell` with `inputs: {command: …}`"),
    "python_callable": "`task: python_function` with `inputs: {module: NAME, function: NAME}`",
    **dict.fromkeys(("uses", "action", "type", "module", "operator"), "`task: NAME`"),
    **dict.fromkeys(("working_dir", "working-directory", "workdir", "cwd", "dir", "chdir", "stdin", "stdout",
                     "stderr"),
                    "`inputs: {…}` of task `shell`, as `working_dir`, `stdin`, `stdout` or `stderr`"),
    **dict.fromkeys(("environment", "envs"), "`env: {NAME: VALUE}`"),
    **dict.fromkeys(("retries", "max_retries", "retryPolicy", "retry_policy", "attempts"), "`retry: N`"),
    **dict.fromkeys(("status_codes", "retry_on_status", "statuses"), "`on_status: [429, 5xx]`"),
    **dict.fromkeys(("with", "args", "arguments", "parameters", "params_", "vars", "variables"), "`inputs: {…}`"),
    **dict.fromkeys(("id", "title", "task_id"), "`name`"),
    **dict.fromkeys(("jobs", "tasks", "stages", "workflow"), "`steps: […]`"),
    **dict.fromkeys(("on", "schedule", "schedule_interval", "cron", "trigger", "triggers", "start_date", "catchup"),
                    "nothing here: start runs from cron or a timer"),
    **dict.fromkeys(("finally", "cleanup", "post", "onExit", "on_exit", "handlerOn", "handlers", "after_script",
                     "always", "errors"),
                    "a step with `always_run: true`"),
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
    "namespace": "`labels: {namespace: …}`",
    **dict.fromkeys(("services", "volumes", "networks"),
                    "a step with `task: shell` that starts them, such as `docker compose up -d`, and one with "
                    "`always_run: true` that stops them"),
    **dict.fromkeys(("concurrency", "max_active_runs", "maxActiveRuns", "concurrencyPolicy"),
                    "`settings: {on_overlap: queue}`, or skip, or fail"),
    **dict.fromkeys(("apiVersion", "kind", "metadata", "spec"),
                    "`name` and `steps`: this is a file of Kubernetes, which flujo does not read"),
    **dict.fromkeys(("before_script", "setup", "pre"), "a first step with `task: shell`"),
    **dict.fromkeys(("dag_id", "generateName", "workflow_name", "pipeline"), "`name`"),
    "default_args": "`defaults: {retry: N, timeout: 5m}`",
    **dict.fromkeys(("hosts", "become", "remote_user"),
                    "nothing: commands run on this machine, as the user who runs flujo; or call ssh or sudo"),
}  # fmt: skip
"""The same for keys of the top level, where they mean something else, or are called otherwise, than in a step."""

IN_A_STEP = frozenset({
    *("needs", "after", "requires", "dependencies", "dependsOn", "depends", "when", "if", "only_if", "unless"),
    *("precondition", "preconditions", "foreach", "forEach", "matrix", "with_items", "loop", "parallel"),
    *("uses", "type", "module", "working_dir", "working-directory", "workdir", "cwd", "dir", "stdin"),
    *("loop_control", "for-each", "with_list", "with_dict", "with_sequence", "strategy", "trigger_rule", "executor"),
    *("stdout", "stderr", "chdir", "block", "switch", "call", "signalOnStop", "retry_delay"),
    *("status_codes", "retry_on_status", "statuses", "image", "container", "runs_on", "runs-on"),
})  # fmt: skip
"""What a step has and the top level has not: there the answer says so."""

_TIMES = "`max_attempts: N`"

WITHIN = {
    "`retry`": {
        **dict.fromkeys(("attempts", "max_retries", "retries", "limit", "max", "count", "times", "tries"), _TIMES),
        **dict.fromkeys(("interval", "intervalSec", "interval_sec", "wait", "sleep", "retry_delay", "initial_delay",
                         "delay_seconds"), "`delay: 5s`"),
        **dict.fromkeys(("factor", "multiplier", "backoff_factor", "exponential", "exponential_base"), "`backoff: 2`"),
        **dict.fromkeys(("maxDelay", "max_interval", "maxIntervalSec"), "`max_delay: 5m`"),
        **dict.fromkeys(("on", "retry_on", "exceptions", "errors"), "`on_error: [ConnectionError]`"),
        **dict.fromkeys(("exitCode", "exit_code", "codes", "exit_status"), "`exit_codes: [75]`"),
        **dict.fromkeys(("on_output", "on_stderr", "on_stdout", "on_message", "output", "message", "text", "pattern",
                         "regex", "matches", "content", "when", "if", "expression", "until", "retry_on_output",
                         "condition", "retry_if", "retry_condition"),
                        "`on_text: REGEX` for what it says when it fails, `exit_codes: [75]` for its code"),
        **dict.fromkeys(("except_output", "unless", "except", "give_up_on_output", "not_on", "abort_on", "not_on_text"),
                        "`give_up_on_text: REGEX`, or `give_up_on: [ExitCode2]` for a code"),
    },
    "`for_each`": {
        **dict.fromkeys(("in", "list", "values", "over", "with_items", "range", "from"), "`items: LIST`"),
        **dict.fromkeys(("as", "var", "loop_var", "name", "variable"), "`arg_name: NAME`"),
        "item": "`arg_name: NAME`, or `items: LIST` for the list",
        **dict.fromkeys(("parallel", "parallelism", "concurrency", "max_parallel", "max_concurrency", "workers"),
                        "`max_workers: N`"),
        **dict.fromkeys(("batch_size", "size", "chunk"), "`chunk_size: N`"),
    },
    "`retention`": {
        **dict.fromkeys(("keep", "keep_last", "count", "max_runs", "limit", "history"), "`last: N`"),
        **dict.fromkeys(("days", "max_age", "older_than", "age", "ttl", "all"),
                        "`completed: 30d`, and `failed` and `cancelled` likewise"),
    },
    "`repeat`": {
        **dict.fromkeys(("intervalSec", "interval_sec", "every", "delay", "wait", "sleep"), "`interval: 10s`"),
        **dict.fromkeys(("limit", "max_attempts", "times", "count", "retries"), "`max: N`"),
        **dict.fromkeys(("condition", "when", "while", "repeat"), "`until: EXPRESSION`"),
    },
    "`defaults`": {
        **dict.fromkeys(("run", "shell"), "`settings: {shell: bash}` at the top level"),
        **dict.fromkeys(("retries", "max_retries"), "`retry: N`"),
        "env": "`env: {NAME: VALUE}` at the top level",
    },
}  # fmt: skip
"""The same for the keys of a mapping, by its place."""

_COMMAND = {
    **dict.fromkeys(("cmd", "commands", "script", "run", "exec", "bash", "code", "line", "cmdline", "bash_command",
                     "program", "shell_command"), "`command: TEXT`, or a list of a program and its arguments"),
    **dict.fromkeys(("args", "arguments", "argv", "params", "entrypoint"), "`command: [PROGRAM, ARGUMENT, …]`"),
    **dict.fromkeys(("chdir", "dir", "directory", "workdir", "working-directory", "workingDir", "working_directory",
                     "folder", "path"), "`working_dir: FOLDER`"),
    **dict.fromkeys(("environment", "envs", "env_vars", "variables", "vars"), "`env: {NAME: VALUE}`"),
    **dict.fromkeys(("image", "container", "docker", "volumes", "mounts"),
                    "`command: [docker, run, --rm, IMAGE, …]`"),
    **dict.fromkeys(("user", "become", "become_user", "sudo", "run_as"),
                    "`command: [sudo, -u, USER, …]`: commands run as the user who runs flujo"),
    **dict.fromkeys(("ignore_errors", "ignore_exit_code", "failed_when", "allow_failure", "fail_on_error"),
                    "`check: false`"),
    **dict.fromkeys(("ok_exit_codes", "success_codes", "expected_codes", "exit_codes", "allowed_codes",
                     "exit_code", "return_codes"), "`ok_codes: [0, 3]`"),
    **dict.fromkeys(("capture", "capture_output", "register", "output", "return_stdout", "do_xcom_push", "result"),
                    "nothing: what it prints is `steps.NAME.result.stdout`"),
    **dict.fromkeys(("executable", "interpreter"), "`shell: PROGRAM`"),
    **dict.fromkeys(("pipefail", "errexit", "set_e", "fail_fast"), "`strict: true`"),
    **dict.fromkeys(("log", "log_file", "logfile", "stdout_file"), "`stdout: FILE`"),
    **dict.fromkeys(("stdin_file", "input_file"), "`stdin: TEXT`, or `<` in the command"),
    **dict.fromkeys(("creates", "removes"), "`condition: EXPRESSION` beside `task`"),
    **dict.fromkeys(("timeout_seconds", "timeout_sec", "timeoutSec", "timeout-minutes", "max_time"), "`timeout: 5m`"),
    **dict.fromkeys(("signal", "kill_signal", "signalOnStop"), "`stop_signal: SIGINT`"),
    **dict.fromkeys(("background", "daemon", "async", "nohup"), "`detach: true`"),
}  # fmt: skip
_WRITTEN = {
    **dict.fromkeys(("text", "data", "body", "contents", "value"), "`content: TEXT`"),
    **dict.fromkeys(("filename", "dest", "destination", "target", "name", "to"), "`path: FILE`"),
}  # fmt: skip
_READ = dict.fromkeys(("filename", "src", "source", "name"), "`path: FILE`")
_MOVED = {
    **dict.fromkeys(("src", "from", "path", "file"), "`source: FILE`"),
    **dict.fromkeys(("dest", "dst", "target", "to"), "`destination: FILE`"),
}  # fmt: skip

INPUTS_OF_OTHER_SYSTEMS: dict[str, dict[str, str]] = {
    "shell": _COMMAND,
    "write_file": _WRITTEN,
    "append_file": _WRITTEN,
    "copy_file": _MOVED,
    "move_file": _MOVED,
    "read_file": _READ,
    "read_json": _READ,
    "read_yaml": _READ,
    "delete_file": _READ,
    "http.request": {
        **dict.fromkeys(("uri", "link", "endpoint", "address", "host"), "`url: URL`"),
        **dict.fromkeys(("verb", "type", "http_method"), "`method: POST`"),
        **dict.fromkeys(("query", "querystring", "query_params"), "`params: {NAME: VALUE}`"),
        **dict.fromkeys(("payload", "content", "body_json"), "`json: VALUE`, `data: {…}` for a form, or `body: TEXT`"),
        **dict.fromkeys(("status", "status_code", "status_codes", "expected_status", "validate_status"),
                        "`ok_status: [404]`"),
        **dict.fromkeys(("follow_redirects", "allow_redirects", "max_redirect"), "`max_redirects: N`"),
        **dict.fromkeys(("insecure", "validate_certs", "skip_tls_verify"), "`verify: false`"),
        **dict.fromkeys(("username", "user", "password"), "`auth: {type: basic, username: NAME, password: …}`"),
        "bearer": "`token: '{{ env.TOKEN }}'`",
    },
    "python_function": {
        **dict.fromkeys(("callable", "func", "handler", "python_callable", "name", "entrypoint"), "`function: NAME`"),
        **dict.fromkeys(("op_args", "arguments", "positional"), "`args: [VALUE]`"),
        **dict.fromkeys(("op_kwargs", "inputs", "params", "parameters", "keywords"), "`kwargs: {NAME: VALUE}`"),
        **dict.fromkeys(("package", "import", "file"), "`module: NAME`"),
    },
    "echo": dict.fromkeys(("text", "msg", "value", "content"), "`message: TEXT`"),
    "print_message": dict.fromkeys(("text", "msg", "value", "content"), "`message: TEXT`"),
    "notify": {
        **dict.fromkeys(("text", "msg", "body", "content", "title", "subject"), "`message: TEXT`"),
        **dict.fromkeys(("type", "via", "kind"), "`channel: webhook`, or slack, log, file"),
    },
    "sleep": dict.fromkeys(("time", "for", "minutes", "hours", "delay", "sec", "secs", "wait"), "`duration: 5m`"),
    "wait_signal": dict.fromkeys(("name", "event", "signal_name", "for", "on"), "`signal: NAME`"),
    "workflow": {
        **dict.fromkeys(("with", "args", "arguments", "parameters", "vars", "variables"), "`inputs: {NAME: VALUE}`"),
        **dict.fromkeys(("name", "id", "ref", "uses"), "`workflow: NAME`, or `file: FILE`"),
    },
}  # fmt: skip
"""The same for the inputs of a task, by its name."""

NAMES_OF_OTHER_SYSTEMS = {
    **dict.fromkeys(("inputs", "params", "parameters", "vars", "variables", "dag_run"), "args.NAME"),
    **dict.fromkeys(("needs", "tasks", "jobs", "outputs", "outcome", "ti", "task_instance", "xcom"),
                    "steps.NAME.result"),
    "matrix": "item",
    **dict.fromkeys(("ds", "ts", "execution_date", "logical_date", "now", "date"), "timestamp"),
    **dict.fromkeys(("github", "runner", "environment", "environ"), "env.NAME"),
    **dict.fromkeys(("always", "failure", "success", "cancelled"),
                    "`steps.NAME.status == 'completed'`, or `always_run: true` in the step"),
}  # fmt: skip
"""What the names that templates of other systems use are called here."""

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
    **dict.fromkeys(("email", "mail", "slack", "webhook", "log_message", "alert"), "`notify`"),
    **dict.fromkeys(
        ("docker", "container", "kubernetes", "ssh"), "`shell` with a command such as [docker, run, --rm, IMAGE, …]"
    ),
    **dict.fromkeys(("set_fact", "set", "assign", "variables"), "`echo`, whose message is its result,"),
    **dict.fromkeys(("render", "jinja", "render_template"), "`template`"),
    **dict.fromkeys(("raise", "error", "abort"), "`fail`"),
    **dict.fromkeys(("BashOperator", "SSHOperator"), "`shell`"),
    **dict.fromkeys(("PythonOperator", "PythonVirtualenvOperator"), "`python_function`, or `python_code`,"),
    **dict.fromkeys(("SimpleHttpOperator", "HttpOperator", "HttpSensor"), "`http.request`"),
    **dict.fromkeys(("EmailOperator", "SlackWebhookOperator", "SlackAPIPostOperator"), "`notify`"),
    **dict.fromkeys(
        ("DockerOperator", "KubernetesPodOperator"), "`shell` with a command such as [docker, run, --rm, IMAGE, …]"
    ),
    **dict.fromkeys(("EmptyOperator", "DummyOperator"), "`noop`"),
    **dict.fromkeys(("BranchPythonOperator", "ShortCircuitOperator"), "`condition: EXPRESSION` in the steps behind it"),
    **dict.fromkeys(("TriggerDagRunOperator", "SubDagOperator"), "`workflow`"),
    **dict.fromkeys(("FileSensor", "TimeDeltaSensor"), "`repeat: {until: EXPRESSION}` beside another task, or `sleep`"),
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
