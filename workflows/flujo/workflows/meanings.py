"""What each key of a definition means, in a line, as editors show it (docs/yaml-workflows.md says more)."""

from __future__ import annotations

from collections.abc import Mapping

TOP: Mapping[str, str] = {
    "name": "what the workflow is called: any text of one line",
    "description": "text for people",
    "version": 'a text; quote it, as in "1.10"',
    "params": "the inputs of a run: a declaration by name, or a plain default",
    "secrets": "environment variables whose values are kept out of all that is stored and shown",
    "steps": "what the workflow does, in order, or as a graph as soon as a step has depends_on",
    "outputs": "what a run returns, as templates by name",
    "labels": "text by name, to find runs by",
    "timeout": "how long a run may take, counted from its start or resume",
    "max_parallel": "how many steps of a graph are at work at once",
    "settings": "any values, for templates to read as settings.NAME, and a few that mean something here",
    "retention": "how long ended runs are kept, by status, and how many in any case",
    "flows": "parts of the steps that are run by themselves, with --flow NAME",
    "imports": "files whose steps come before these",
    "defaults": "retry, timeout and on_error of steps that say nothing themselves",
    "env": "environment variables for the commands of all steps",
    "env_files": "files of environment variables, a later one before an earlier one",
}

STEP: Mapping[str, str] = {
    "name": "what templates and other steps call it: letters, digits, _, . and -",
    "task": "what the step does",
    "inputs": "the inputs of the task; every text is a template",
    "params": "another word for inputs",
    "description": "text for people",
    "depends_on": "the steps that come before this one, which makes the definition a graph",
    "condition": "an expression; the step is skipped unless it is true",
    "retry": "how a failed attempt is followed by another one; a number is that of further attempts",
    "timeout": "how long one attempt may take",
    "on_error": "what follows when the step has failed: fail, continue, or more in a mapping",
    "always_run": "true for a clean-up, which runs also when a failure, a cancel or a timeout has ended the rest",
    "for_each": "a list: the task is called once per item, which its inputs see as item",
    "progress_update": "whether a loop reports its progress",
    "progress_interval": "how often a loop reports its progress",
    "env": "environment variables of the command of this step",
    "repeat": "performs the step until its result is as wanted; no round of it is a failure",
    "outputs": "what the step returns instead, as templates that see what the task returned as result",
}
