"""What templates may do, and that nothing they may do gets past the budget.

The budget is a hundredth of the usual one here, and so is what the templates try to make.
"""

# ruff: noqa: E501 - a template is easier to read in one line
from __future__ import annotations

import time
import tracemalloc

import jinja2.ext
import jinja2.sandbox
import pytest

from tinkex.tokenizers import _sandbox
from tinkex.tokenizers._sandbox import Sandbox, SecurityError, TemplateSyntaxError, budget, environment

MADE = 160_000
DATA = {
    "text": " Hello, <b>World</b>!\n  two\r\nlines\t",
    "words": ["b", "a", "C", "a"],
    "message": {"role": "user", "content": "x", "n": 3, "parts": [{"type": "text", "text": "y"}, {"type": "image"}]},
    "numbers": [3, 1.5, 2, 10],
}


def render(template, **given):
    """What a template writes."""
    with _sandbox.limited_time():
        return Sandbox().from_string(template).render(given)


def render_by_jinja(template, **given):
    """What it writes without our sandbox."""
    plain = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    return plain.from_string(template).render(given)


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    "expression",
    [
        *("text|trim", "text|trim('!')", "text|upper", "text|lower", "text|capitalize", "text|title", "text|length"),
        *("text|replace('l', 'LL')", "text|replace('l', 'L', 1)", "text|indent", "text|indent(2, true)", "text|string"),
        *("text|indent('> ', blank=true)", "text|escape", "text|e|length", "'%s-%d'|format('a', 3)", "text|reverse"),
        *("text.strip()", "text.strip(' !')", "text.split()", "text.split(',')", "text.split(',', 1)[-1].lstrip()"),
        *("text.rsplit('l', maxsplit=1)", "text.splitlines()", "text.replace('l', '')", "text.startswith(' H')"),
        *("text.endswith('x') or text.find('W')", "text.partition('W')", "text.title()", "text.count('l')"),
        *("'-'.join(words)", "'{}={x:>4}'.format(1, x='b')", "'%s %5.1f%%' % ('a', 2)", "'%(a)s' % {'a': 1}"),
        *("'a\tb'.expandtabs(2)", "'a'.center(5)", "'7'.zfill(3)", "'a' * 3", "'a' ~ 1 ~ none", "'a' + 'b'"),
        *("words|join('-')", "words|sort", "words|sort(true, true)", "words|unique|list", "words|first", "words|last"),
        *("words|map('upper')|join", "words|select('in', ['a'])|list", "words|reject('eq', 'a')|list", "words|min"),
        *(
            "words|reverse|list",
            "words[1:]",
            "words[::-1]",
            "words + ['x']",
            "words * 2",
            "words.index('C')",
            "words[-1]",
        ),
        *(
            "message.parts|selectattr('type', 'equalto', 'text')|list|length",
            "message.parts|map(attribute='text')|list",
        ),
        *("message.parts|rejectattr('text', 'defined')|list", "message|items|list", "message.items()|list"),
        *("message|dictsort", "message|tojson", "message.get('none', 'd')", "message.keys()|list", "message.role"),
        *("message|tojson|length", "message.nothing|default('d')", "''|default('d', true)", "message['content']"),
        *(
            "numbers|sum",
            "numbers|max",
            "numbers|map('int')|list",
            "-3|abs",
            "2.567|round(1)",
            "'12'|int + 1",
            "'x'|int",
        ),
        *(
            "'1.5'|float",
            "7 // 2",
            "7 / 2",
            "7 % 4",
            "2 ** 8",
            "7 - 9",
            "numbers|map('string')|list",
            "message.parts|count",
        ),
        *("'<'|safe + '<' + text", "('<'|safe) ~ '<'", "(text|safe).strip()", "('<b>'|safe).replace('b', '<')"),
        *("words is sequence", "message is mapping", "text is string", "none is none", "3 is odd", "x is defined"),
        *(
            "3 is number and 3 is integer",
            "'a' in words",
            "'H' in text",
            "words == ['b']",
            "1 < 2 < 3",
            "words is iterable",
        ),
        *("range(5)|list", "dict(a=1)", "dict(message, n=4).n", "{'a': words}.a", "(1, 'b')", "[text, words]|length"),
    ],
)
def test_what_is_allowed_gives_what_jinja2_gives(expression):
    """Filters, methods, tests and operators that templates use do what they do elsewhere."""
    template = "{{ " + expression + " }}"
    expected = render_by_jinja(template, **DATA) if "tojson" not in expression else None
    assert render(template, **DATA) == expected or "tojson" in expression


@pytest.mark.parametrize(
    "template",
    [
        "{% for word in words if word != 'C' %}{{ loop.index }}/{{ loop.length }} {{ loop.cycle('x', 'y') }}{% endfor %}",
        "{% for a in words %}{% for b in [] %}{% else %}-{{ a }}{% endfor %}{% if loop.last %}.{% break %}{% endif %}{% endfor %}",
        "{% for key, value in message.items() recursive %}{{ key }}{% if value is mapping %}{{ loop(value) }}{% endif %}{% endfor %}",
        "{% macro show(a, b='x') %}<{{ a }}{{ b }}{{ varargs }}{{ kwargs }}>{% endmacro %}{{ show(1) }}{{ show(1, 2, 3, c=4) }}",
        "{% macro each() %}{{ caller(3) }}{% endmacro %}{% call(n) each() %}{{ n }}{{ text }}{% endcall %}",
        "{% set ns = namespace(a=1) %}{% for word in words %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}",
        "{% set block %}a{{ text }}{% endset %}{{ block|trim }}{% with b = 2 %}{{ b }}{% endwith %}",
        "{% filter upper %}{{ text }}{% endfilter %}{% set a, b = words[:2] %}{{ b }}{{ a }}",
        "{% if words|select('eq', 'a') %}{{ (words|select('eq', 'a')|list)[0] }}{% elif x %}y{% else %}z{% endif %}",
        "{%- if 'a' in words -%} in {%- endif -%} {{- message['parts'][1:][0]['type'] -}}",
    ],
)
def test_statements_do_what_they_do_elsewhere(template):
    """So do loops, macros, blocks and namespaces."""
    assert render(template, **DATA) == render_by_jinja(template, **DATA)


def doubled(first, step, times=60):
    """A template that builds on its own result."""
    return (
        f"{{% set ns = namespace(x={first}) %}}{{% for i in range({times}) %}}{{% set ns.x = {step} %}}{{% endfor %}}"
    )


def kept(first, value):
    """A template that makes a value again and again, which the budget keeps."""
    return f"{first}{{% for i in range(999) %}}{{% set x = {value} %}}{{% endfor %}}"


DICT = "{% set d = {" + ", ".join(f"'{number}': 1" for number in range(400)) + "} %}"
LISTS = doubled("[1]", "[ns.x, ns.x]", 9)
KB = "'a' * 1000"
PROBES = [
    # Texts out of texts
    *(
        "{{ ('a' * 50000) * 100 }}",
        "{{ 'ab'.translate({97: 'c' * 5000}) }}",
        "{{ ('a' * 999)|replace('a', " + KB + ") }}",
    ),
    *("{{ ('a' * 999).replace('', " + KB + ") }}", "{{ ('a\\n' * 9000)|indent(30) }}", "{{ 'a'|indent(10 ** 6) }}"),
    *(
        "{{ 'a\\na'|indent('b' * 9999) }}",
        "{{ ('a ' * 999)|wordwrap(1, wrapstring=" + KB + ") }}",
        "{{ 'a'.ljust(10 ** 7) }}",
    ),
    *("{{ ('\\t' * 999).expandtabs(1000) }}", "{{ ('a ' * 9000)|title }}", "{{ ('\u0390' * 20000)|upper }}"),
    *("{{ ('\u0390' * 20000).lower() }}", "{{ ('<' * 9000)|escape }}", "{{ ('<' * 9000) + ('x'|safe) }}"),
    *("{{ ('x'|safe).join(['<' * 9000]) }}", "{{ ('<'|safe) * 200000 }}", "{{ 'a'|center(10 ** 7) }}"),
    *(doubled("'a'", "ns.x ~ ns.x"), doubled("'a'", "ns.x + ns.x"), doubled("'&'", "ns.x|e|string|replace('a', '&')")),
    *(
        "{{ (" + KB + ").join(['b'] * 999) }}",
        "{{ (['b'] * 999)|join(" + KB + ") }}",
        "{{ ([" + KB + "] * 999)|join }}",
    ),
    # Formats
    *(
        "{{ ('%999d' * 400)|format(1) }}",
        "{{ '%9999d' % 1 }}",
        "{{ '%*d' % (9999, 1) }}",
        "{{ '{:>99999}'.format(1) }}",
    ),
    *("{{ '{:>{}}'.format(1, 99999) }}", "{{ ('{0}' * 999).format(" + KB + ") }}", "{{ '{0.real}'.format(1) }}"),
    *("{{ ('%(a)s' * 999) % {'a': " + KB + "} }}", "{{ strftime_now('%9999Y') }}", "{{ strftime_now('%Y' * 999) }}"),
    # Lists
    *("{{ ([1] * 50000)|length }}", doubled("[1]", "ns.x + ns.x"), "{{ range(99999)|list|length }}"),
    *(
        "{{ ('a,' * 9000).split(',')|length }}",
        "{{ ('a ' * 9000).split()|length }}",
        "{{ ('\\n' * 9000).splitlines() }}",
    ),
    *("{{ ('\u20ac' * 9000)|list|length }}", "{{ range(999)|map('string')|map('list')|list|sum(start=[]) }}"),
    *("{{ [1]|batch(10 ** 6, 'x')|list }}", "{{ [1]|slice(10 ** 6)|list }}", "{{ range(9999)|map('string')|list }}"),
    *("{{ (['a' * 9999] * 99)|map('upper')|list|length }}", "{{ range(9999)|unique|list|length }}"),
    "{% set ns = namespace(kept=[]) %}{% for i in range(99) %}{% set ns.kept = ns.kept + ['a' * 9999] %}{% endfor %}",
    "{% set ns = namespace(kept=1) %}{% for i in range(999) %}{% set ns.kept = namespace(a=ns.kept, b='a' * 999) %}{% endfor %}",
    "{% set all = range(999)|list %}{% for i in range(99) %}{% set some = all[1:] %}{% endfor %}",
    # Pieces, characters, numbers and copies that are kept
    *(
        kept("{% set a = 'a,' * 5000 %}", "a.partition(',')"),
        kept("{% set a = 'a,' * 5000 %}", "a.rsplit(',', 1)"),
        kept("{% set a = '€' * 900 %}", "a|list"),
        kept("{% set a = '€' * 900 %}", "a|sort"),
        kept("", "range(900)|reverse|list"),
        kept("{% set a = 3 ** 64 %}" + "{% set a = a * a %}" * 4, "[" + "a * a, " * 20 + "]"),
        kept(
            "{% macro f() %}{% set x = varargs %}{% endmacro %}",
            "f(*range(900))",
        ),
    ),
    *(kept(DICT, "dict(d)"), kept(DICT, "dict(**d)"), kept(DICT, "namespace(d)"), kept(DICT, "namespace(**d)")),
    # Lists in lists, as text, as JSON, compared
    *(doubled("[1]", "[ns.x, ns.x]") + each for each in ("", "{{ ns.x }}", "{{ ns.x|tojson }}", "{{ ns.x == [1] }}")),
    *(doubled("{'a': 1}", "{'a': ns.x, 'b': ns.x}"), doubled("(1,)", "(ns.x, ns.x)"), doubled("[1]", "[ns.x]", 200)),
    *(
        LISTS + "{{ ([ns.x] * 99)|string }}",
        LISTS + "{{ '%s%s%s' % (ns.x, ns.x, ns.x) }}",
        LISTS + "{{ [ns.x]|sum(start=[]) * 99 }}",
    ),
    *("{{ range(999)|list|tojson(indent=9999) }}", "{{ range(999)|list|tojson(separators=(" + KB + ", ':')) }}"),
    *("{{ ('\\x01' * 30000)|tojson }}", LISTS + "{{ raise_exception([ns.x] * 99) }}", "{{ dict([[1, 2]] * 9) }}"),
    "{% macro f(n) %}{% if n %}{{ f(n - 1, varargs, varargs) }}{% else %}{{ varargs }}{% endif %}{% endmacro %}{{ f(60, 1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1, a=kwargs, b=kwargs) }}{% endif %}{% endmacro %}{{ f(60, a=1) }}",
    # Text that is written
    "{% for i in range(999) %}" + "x" * 500 + "{% endfor %}",
    "{% set a %}{% for i in range(999) %}" + "x" * 500 + "{% endfor %}{% endset %}",
    "{% set a %}{% for i in range(999) %}{% if i %}" + "x" * 500 + "{% endif %}{% endfor %}{% endset %}",
    "{% set a %}{% for i in range(999) %}{% for j in [] %}{% else %}"
    + "x" * 500
    + "{% endfor %}{% endfor %}{% endset %}",
    "{% filter upper %}{% for i in range(999) %}" + "x" * 500 + "{% endfor %}{% endfilter %}",
    "{% macro f() %}{% for i in range(999) %}{{ caller() }}{% endfor %}{% endmacro %}{% call f() %}"
    + "x" * 500
    + "{% endcall %}",
    "{% macro f(n) %}x{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set t = " + KB + " %}{% for i in range(999) %}{{ t }}{% endfor %}",
    # Numbers, searches, names, syntax
    *("{{ 2 ** 99 ** 9 }}", doubled("3", "ns.x * ns.x"), doubled("1", "ns.x + ns.x", 20000), "{{ 1|round(9999) }}"),
    *(
        "{{ 'a'.rfind('b' * 99) }}",
        "{{ 'a'.strip('b' * 99) }}",
        "{{ 'a'.rsplit('b' * 99) }}",
        "{{ {}.keys() - {}.keys() }}",
    ),
    *(
        "{{ [{}]|map(attribute='a.' * 999)|list }}",
        "{{ [{}]|selectattr('a.' * 999)|list }}",
        "{{ [{}]|sort(attribute='a.' * 999) }}",
    ),
    *(
        "{{ [].append(1) }}",
        "{{ {}.update(a=1) }}",
        "{{ 'a'.encode() }}",
        "{{ [1].__class__.__mro__ }}",
        "{{ ''.format_map({}) }}",
    ),
    *(
        "{{ [{}]|sort(attribute='" + "a," * 5 + "b') }}",
        "{{ {" + ", ".join(f"{number}: 1" for number in range(501)) + "} }}",
        "{{ a" + " == a" * 5 + " }}",
        "{% if a %}" * 51 + "{% endif %}" * 51,
    ),
    *(
        "{{ 'a'|pprint }}",
        "{{ 'a'|attr('b') }}",
        "{{ 'a' is lower }}",
        "{% block a %}{% endblock %}",
        "{% include 'a' %}",
    ),
    *(
        "{% autoescape true %}{% endautoescape %}",
        "{% import 'a' as b %}",
        "{% extends 'a' %}",
        "{{ a }}" * 2500,
        "x" * 100_001,
    ),
]


def compiled_and_rendered(template):
    """The text of a template; what Python's compiler takes, which differs by its version, is no part of the peak."""
    compiled = Sandbox().from_string(template)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.reset_peak()
    return compiled.render({})


@pytest.mark.thin(8)
@pytest.mark.parametrize("template", PROBES, ids=range(len(PROBES)))
def test_nothing_gets_past_the_budget(monkeypatch, template):
    """What would make too much, however it goes about it, is refused before it is made."""
    monkeypatch.setattr(budget, "_MADE", MADE)
    with _sandbox.limited_time():
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(SecurityError):
                compiled_and_rendered(template)
            assert tracemalloc.get_traced_memory()[1] - before < 4 * MADE + 100 * len(template)
        finally:
            tracemalloc.stop()


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) %}{% for j in range(9999) if i == -1 %}{% endfor %}{% endfor %}",
        "{% set a = 'a' * 99999 %}{% for i in range(99999) %}{% if 'ab' in a %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 60000 %}{% set b = 'a' * 60000 %}{% for i in range(99999) %}{% if a == b %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 99999 %}{% for i in range(9999) %}{% if a.count('ab') %}{% endif %}{% endfor %}",
        "{% set a = 'ab' * 50000 %}{% for i in range(9999) %}{% if a.strip('cdefghba') %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 99999 %}{% for i in range(99999) %}{% if 'ab' is in a %}{% endif %}{% endfor %}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% for i in range(99999) %}{% if range(9999)|max %}{% endif %}{% endfor %}",
        "{% set a = [{'a': 1}] * 999 %}{% for i in range(99999) %}{% if a|max(attribute='a') %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 99999 %}{% for i in range(9999) %}{% if ('a' * 9 + 'b') in a %}{% endif %}{% endfor %}",
    ],
)
def test_nothing_gets_past_the_time(monkeypatch, template):
    """What goes on and on is stopped soon after its time is over."""
    monkeypatch.setattr(budget, "_SECONDS", 0.02)
    began = time.thread_time()
    with pytest.raises((SecurityError, RecursionError)):
        render(template)
    assert time.thread_time() - began < 1.0


def test_a_long_conversation_is_rendered():
    """Real work on real data is far from the budget: a megabyte of messages, each handled many times over."""
    template = (
        "{% set ns = namespace(seen=[]) %}{% for m in messages %}{% set ns.seen = ns.seen + [m] %}"
        "{{ m.content.split('</think>')[-1].strip()|replace('a', 'bb')|upper }}{{ messages[1:]|length }}"
        "{% if loop.last %}{{ ns.seen|tojson|length }}{% endif %}{% endfor %}"
    )
    messages = [{"role": "user", "content": f"{number}</think>" + "a word " * 150} for number in range(1000)]
    assert len(render(template, messages=messages)) > 1_000_000


def test_unknown_filters():
    """A filter that jinja2 has none of either is an error of the template, where it is used."""
    with pytest.raises(TemplateSyntaxError, match="No filter named 'from_json'"):
        render("{{ 1|from_json }}")
    assert render("{% if false %}{{ 1|from_json }}{% endif %}") == ""


def test_nothing_is_computed_while_compiling():
    """Constants are not computed when a template is compiled, where nobody has asked for them yet."""
    Sandbox().from_string("{% if false %}{{ 'a'.ljust(10 ** 7) }}{{ 'a'|replace('a', 'b') }}{{ 2 ** 999 }}{% endif %}")


def test_variables():
    """The names that a template reads can be asked for without running it, also where it may not be run."""
    assert environment.variables_of("{{ a.b }}{% set c = 1 %}{{ c }}{% block d %}{{ e }}{% endblock %}") == {"a", "e"}
    assert environment.variables_of("{{ a }}" + "x" * 100_000) == set()
