"""The Jinja that chat templates are written in, as transformers 5.23 sets it up, without transformers.

Templates come from model repositories and are not trusted: they run in Jinja's sandbox. One thing is solved otherwise:
`{% generation %}` puts a mark before and behind what it encloses, and the caller takes the marks out again. So what is
marked is known by place in the finished text, whatever macros or filters it went through.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.parser import Parser
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

GENERATION = "generation"


class _SafeNamespace(Namespace):
    """A namespace without names that reach into Python."""

    def __init__(*args: Any, **names: Any) -> None:  # as Jinja's own: a template may well store a `self`
        for name in dict(*args[1:], **names):
            _check_name(name)
        Namespace.__init__(*args, **names)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace may not hold {name!r}: the name begins with an underscore")


class _Dict:
    """What templates know as `dict`, without access to the class."""

    def __call__(self, *args: Any, **names: Any) -> dict[Any, Any]:
        return dict(*args, **names)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox of one chat template.

    Args:
        marks: what `{% generation %}` puts before and behind what it encloses.
    """

    def __init__(self, marks: tuple[str, str]) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols])
        self.marks = marks
        self.marking = False  # a template with `{% generation %}` was compiled
        self.filters["tojson"] = _tojson
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": lambda form: datetime.now().strftime(form),
            "dict": _Dict(),
            "namespace": _SafeNamespace,
        }

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the sandbox's, with a short cut for what templates ask most: `loop.first`, `message.role`, `ns.found`.

        The sandbox allows these too, after checks that take half of the rendering time.
        """
        kind = type(obj)
        if kind is dict:
            if attribute in obj and not hasattr(dict, attribute):
                return obj[attribute]
        elif (kind is LoopContext or kind is _SafeNamespace) and not attribute.startswith("_"):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                pass
        return super().getattr(obj, attribute)


class _Generation(jinja2.ext.Extension):
    """`{% generation %} ... {% endgeneration %}`: what the model is to produce."""

    tags = {GENERATION}  # noqa: RUF012  # Jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements((f"name:end{GENERATION}",), drop_needle=True)
        environment = _own(self.environment)
        environment.marking = True
        before, behind = (nodes.Output([nodes.TemplateData(mark)]) for mark in environment.marks)
        return nodes.Scope([before, *body, behind]).set_lineno(line)


def marks_generation(template: jinja2.Template) -> bool:
    """Whether a template compiled in an `Environment` holds `{% generation %}`."""
    return _own(template.environment).marking


def _own(environment: jinja2.Environment) -> Environment:
    if not isinstance(environment, Environment):
        raise TypeError("the generation tag belongs to the environment of chat templates")
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it stands: neither HTML nor other characters are escaped, as Jinja's own filter would."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
