"""Writes how transformers renders many small chat templates: `templates/table.json`.

    pip install transformers
    python make_template_table.py [FOLDER]

Each case is a template with what it is given; `rendered` is the text of `apply_chat_template`, and `refused` stands in its
place where that raises. The local time is 2026-02-03 04:05:06.789012 in a zone of its own (UTC+5:45).
"""

import datetime
import json
import os
import pathlib
import sys
import time

os.environ["TZ"] = "Asia/Kathmandu"
time.tzset()

USER = [{"role": "user", "content": "Hello  World <b>x</b>"}]
CALLED = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "q"},
    {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": {
        "name": "f", "arguments": {"a": 1.0, "b": [None, True, 1e-07], "c": {"d": "e'\"ä"}}}}]},
    {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "r"},
]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
TOOL = {"type": "function", "function": {"name": "ping"}}
STRICT = {"function": {"strict": True, "parameters": {"type": "object", "properties": {}}, "name": "pong",
                       "description": None}, "type": "function"}
REASONED = [{"role": "user", "content": "q"}, {"content": "a", "role": "assistant", "reasoning": "why", "name": None}]

# Expressions, one for each template, grouped by feature.
PRINTING = """
1e-7 | tojson
1e16
1e-7
1e15
123456789012345680.0
0.1 + 0.2
1.0
-0.0
100.0
1e22
1.5e300
1e400
-1e400
0.0001
0.00001
(1, 2)
(1,)
()
[1, 'a', None, True, 1.5]
{'a': 1, 'b': [1, {'c': None}]}
{1: 'x', 'y': 2.0}
{'b': 1} | dictsort
'it\\'s'
['it\\'s', 'say "hi"', 'both \\' and "']
['a\\nb\\t\\\\ä\\x07\\x7f\\u200b\\xa0🙂']
True
none
None
[true, false, none]
{'a': 1}.items()
{'a': 1}.keys()
{'a': 1}.values()
{'a': 1}.items() | list
namespace(a=1).a
7 // 2
-7 // 2
7.5 // 2
-7 % 3
7 % -3
7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
7 / 2
6 / 2
1 / 3
10 ** 20
123456789 * 987654321
9223372036854775807 + 1
9223372036854775807 * 9223372036854775807
1_000
5 ~ 6.0 ~ none ~ true ~ [1]
'a' ~ {'b': (1, 2)}
'ab' * 3
[1, 2] * 2
[1] + [2, 3]
(1, 2) + (3,)
'a' 'b'
"%s and %d and %.2f and %5s|%-5s|%05d|%x|%r|%%" % ('a', 3, 1.005, 'b', 'c', 42, 255, 'q')
'%s' % 'x'
'%s' % [1, 'a']
'%s' % 1e-7
'%(a)s-%(b)03d' % {'a': 'x', 'b': 7}
'%s' % none
'%i %u %o %X %e %g %c' % (1, 2, 8, 255, 12345.678, 0.00001234, 'z')
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
'1' == 1
'a' < 'b'
[1, 2] < [1, 3]
'a' in 'abc'
'x' not in {'x': 1}
2 in [1, 2]
2 in (1, 2)
not ''
'' or 'x'
0 or []
'a' and 'b'
none and 1
1 if false
1 if false else 2
'x' if 1 else 'y'
-2 ** 2
(-2) ** 2
- 3
2 + 3 * 4 - 1
not 1 == 2
'\\x41\\u00e9\\n\\q\\101'
'tab\\there'
3.0 | int
'3.9' | int
'0x1f' | int(base=16)
'zz' | int(7)
'1.5' | float
'x' | float(2.5)
true + 1
true | int
[[1, 2], [3, 4]] | tojson
5 | string
1.0 | string
none | string
[1] | string
true | string | upper
1e3 | int
10 | float
3 == 3.0000000000000001
1.1 * 3
1e2
1E5
4.35 * 100
12345678.9
5e-324
1.7976931348623157e308
0.1
1/0.1
"""

METHODS = """
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'a,b,c'.rsplit(',', 1)
'a b  c'.rsplit()
' a b  c '.split()
'a,b,,c'.split(',')
'a,b,c'.split(',', 1)
'a b c'.split(maxsplit=1)
'a  b c'.split(' ')
' a  b c '.split(none, 1)
'a=b=c'.partition('=')
'abc'.partition('=')
'a=b=c'.rpartition('=')
'abc'.rpartition('=')
'42'.zfill(5)
'-42'.zfill(5)
'ab'.center(7, '*')
'abc'.center(6)
'ab'.ljust(5, '.')
'ab'.rjust(5)
'hello'.index('l')
'hello'.find('z')
'hello'.rfind('l')
'hello'.rindex('l')
'hello'.find('l', 3)
'hello'.count('l')
'hello'.count('')
'aaa'.count('aa')
'hello wORLD it\\'s'.title()
'hELLO world'.capitalize()
'Straße'.upper()
'Straße'.casefold()
'ÄÖ'.lower()
'aBc'.swapcase()
'a\\nb\\r\\nc\\rd\\x0be\\u2028f'.splitlines()
'a\\nb\\n'.splitlines(true)
'12'.isdigit()
'²'.isdigit()
'½'.isnumeric()
'12'.isdecimal()
'²'.isdecimal()
'ab1'.isalnum()
'ab'.isalpha()
''.isalpha()
'aB'.islower()
'ab1'.islower()
'AB'.isupper()
' \\t'.isspace()
'Ab Cd'.istitle()
'ab_1'.isidentifier()
'é'.isascii()
'a\\tb'.isprintable()
'a\\tbc\\td'.expandtabs(4)
'{} {}'.format('a', 1)
'{0}-{1}-{0}'.format('a', 'b')
'{x:>5}|{y:<4}|{z:^5}|{w:.2f}|{v:,}'.format(x='a', y='b', z='c', w=1.005, v=1234567)
'{!r} {:5d} {:x} {:03} {{}}'.format('a', 42, 255, 7)
'{a[0]} {b[k]}'.format(a=[5], b={'k': 6})
'{:e} {:g} {:%}'.format(12345.678, 1e-7, 0.25)
'-'.join(['a', 'b'])
', '.join({'a': 1, 'b': 2})
' x '.strip()
'xxhixx'.strip('x')
'xyhi'.lstrip('yx')
'hi..'.rstrip('.')
'\\x1fa\\x85'.strip()
'aXbX'.replace('X', '-')
'aXbX'.replace('X', '-', 1)
'abc'.replace('', '.')
'abc'.startswith('ab')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.endswith(('c', 'd'))
'abc'.endswith('b', 0, 2)
'abc'.translate({97: 'x'})
'ab'.__len__()
'abc'[1]
'abc'[-1]
'abcdef'[1:4]
'abcdef'[::-1]
'abcdef'[::2]
'abcdef'[-3:]
'äöü'[1:]
[1, 2, 3][::-1]
[1, 2, 3][-2:]
(1, 2, 3)[1:]
[1, 2, 1].count(1)
[1, 2, 1].index(2)
[1, 2].copy()
[1, 2].append(3)
[1, 2].pop()
[1, 2].extend([3])
[3, 1].sort()
(1, 2, 1).count(1)
(1, 2).index(2)
{'a': 1}.get('a')
{'a': 1}.get('b')
{'a': 1}.get('b', 2)
{'a': 1}.copy()
{'a': 1}.pop('a')
{'a': 1}.update({'b': 2})
{'a': 1}.setdefault('b', 2)
{'a': 1}.clear()
{'a': 1, 'b': 2}.keys() | list
{'a': 1, 'b': 2}.values() | list
{'a': 1}.items() | first
{'a': {'b': 3}}.a.b
{'a': 1}['a']
{'items': 1}['items']
{'items': 1}.items
{'a': 1}.missing
{'a': 1}.missing.more
missing
missing.attr
missing['x']
missing | default('d')
'' | default('d')
'' | default('d', true)
none | default('d')
missing is defined
missing ~ 'x'
missing + 'x'
missing | length
missing | upper
missing == none
missing == missing
missing | trim
missing | list
missing | join(',')
missing in [1]
'a' in missing
missing and 1
not missing
[missing]
missing()
'abc'.nope()
'abc'.nope
[1].nope
(5).bit_length()
(1.5).is_integer()
3.7.__class__
''.__class__
[1, 2].__len__()
'a'.join
{'a': 1}.a()
{}.__class__.__mro__
'a'.upper().lower().strip()
"a,b".split(",")[1]
"a b".split()[-1] | upper
'x'.join(['1', '2'] + ['3'])
'x'.join([1, 2])
"abc".index("z")
"a".split("")
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1)])
dict.fromkeys(['a', 'b'], 0)
"%s" | format("x")
"%s %s" | format("x", 1e-7)
"%(a)s" | format(a=1)
namespace(x=1)
cycler('a', 'b').next()
joiner(', ')() ~ '|'
raise_exception('no ' ~ 1)
raise_exception(5)
strftime_now('%Y')
"""

FILTERS = """
'hello world foo bar' | truncate(8)
'hello world foo bar' | truncate(12, true)
'hello world foo bar' | truncate(12, false, '..')
'hello world foo bar' | truncate(12, true, '..', 0)
'hello world' | truncate(9)
messages[0].content | truncate(8)
'a b  c-d' | wordcount
'ab' | center(6)
'ab' | center
'a b&c/d?é' | urlencode
{'a': 'b c', 'd': 1} | urlencode
[('a', 'b/c')] | urlencode
'<p>Hi <b>you</b> &amp; me<!-- c --></p>' | striptags
'the quick brown fox jumps' | wordwrap(10)
'averyveryverylongword x' | wordwrap(5)
'averyveryverylongword x' | wordwrap(5, false)
'a-b-c d' | wordwrap(4)
'ab cd\\nef gh ij' | wordwrap(5, wrapstring='|')
'a\\nb\\n\\nc' | indent
'a\\nb\\n\\nc' | indent(2)
'a\\nb' | indent(2, true)
'a\\n\\nb' | indent(2, false, true)
'a\\nb' | indent('>>')
{'b': 2, 'a': 1, 'C': 3} | dictsort
{'b': 2, 'a': 1, 'C': 3} | dictsort(true)
{'b': 2, 'a': 1} | dictsort(by='value')
{'b': 2, 'a': 1} | dictsort(reverse=true)
[{'g': 1, 'v': 'a'}, {'g': 2, 'v': 'b'}] | groupby('g') | map(attribute='grouper') | list
[{'a': 1}, {'a': 2}] | map(attribute='a') | list
[{'a': 1}, {}] | map(attribute='a', default=9) | list
[{'a': {'b': 1}}] | map(attribute='a.b') | list
[[1, 2], [3, 4]] | map(attribute=1) | list
[[1, 2], [3, 4]] | map('first') | list
['a', 'b'] | map('upper') | join
['a', 'b'] | map('replace', 'a', 'x') | list
[1, 2, 3, 4] | select('odd') | list
[1, 2, 3, 4] | reject('odd') | list
[0, 1, '', 'a'] | select | list
[1, 2, 3] | select('gt', 1) | list
[1, 2, 3] | select('in', [1, 3]) | list
[{'a': 1}, {'a': 0}] | selectattr('a') | list
[{'a': 1}, {'a': 2}] | selectattr('a', 'equalto', 2) | list
[{'a': 1}, {'a': 2}] | selectattr('a', '==', 2) | list
[{'a': 1}, {}] | selectattr('a', 'defined') | list
[{'a': 1}, {}] | rejectattr('a', 'undefined') | list
[{'a': 1}, {'a': 2}] | rejectattr('a', 'eq', 1) | list
messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list
[1, 2] | tojson
{'b': 1, 'a': [1, 2]} | tojson(indent=2)
{'b': 1, 'a': {}} | tojson(2)
{'b': 1, 'a': []} | tojson(indent=4)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
{'b': 1, 'a': 2} | tojson(separators=(',', ':'))
{'a': 1, 'b': [1]} | tojson(separators=(',', ':'), indent=1)
'ä🙂<&>\\'' | tojson
'ä🙂' | tojson(ensure_ascii=true)
'"\\\\\\n\\t\\x08\\x0c\\x01\\x7f/' | tojson
[1.0, 1e16, 1e-7, 1e22, -0.0, 1.5] | tojson
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
(1, 2) | tojson
{'a': 1}.items() | list | tojson
missing | tojson
[missing] | tojson
{'a': 1}.keys() | tojson
range(3) | tojson
range(3) | list | tojson
[1, 2] | tojson(indent='--')
[1] | tojson(indent=0)
none | tojson
true | tojson
1e400 | tojson
[3, 1, 2] | sort
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
[3, 1, 2] | sort(reverse=true)
[{'a': 2}, {'a': 1}] | sort(attribute='a')
[{'a': 1, 'b': 2}, {'a': 1, 'b': 1}] | sort(attribute='a,b')
'cab' | sort
['a', 'A', 'b'] | unique | list
[1, 2, 1] | unique | list
[3, 1] | min
[3, 1] | max
['b', 'A'] | min
[{'a': 3}, {'a': 1}] | min(attribute='a')
[] | min
[1, 2, 3] | sum
[{'a': 1}, {'a': 2}] | sum(attribute='a')
[1.5, 2] | sum(start=10)
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3] | slice(2, 'x') | list
[1, 2, 3] | first
[] | first
[1, 2, 3] | last
'abc' | first
'abc' | last
'abc' | list
{'a': 1} | list
'abc' | reverse
[1, 2] | reverse | list
'abc' | length
{'a': 1} | length
{'a': 1} | count
[1, 2] | join
[1, 2.0, none, true] | join('-')
[{'a': 1}, {'a': 2}] | join('-', attribute='a')
['<', '>'] | join('&')
'a<b' | escape
'a<b>&"\\'' | e
'a<b' | safe
'a<b' | forceescape
'abc' | replace('b', 'x')
'aaa' | replace('a', 'b', 2)
'abc' | upper
'ABC' | lower
'hello wORLD foo-bar it\\'s (x)' | title
'hELLO' | capitalize
'  x ' | trim
'xxaxx' | trim('x')
3.14159 | round(2)
2.5 | round
3.5 | round
2.567 | round(1, 'floor')
2.51 | round(1, 'ceil')
1234 | round(-2)
42 | round
-5 | abs
-1.5 | abs
'x' | abs
{'a': 1} | items | list
{'a': 1} | items
missing | items | list
{'a': 1} | attr('a')
messages[0] | attr('role')
{'a': [1, {'b': 2}]} | pprint
[1, 2, 3] | batch(2) | map('join', ',') | join(';')
'a' | string | length
'abc' | nofilter
['x', 'y'] | map('nofilter') | list
[1, 2] | select('notest') | list
5 | default(1)
false | default(1)
false | default(1, true)
[1, [2, [3]]] | string
'x' | tojson | safe
'abc' | d('x')
"a b" | replace(" ", "")
{'x': 1} | dictsort | first
[('b', 1), ('a', 2)] | sort
[['b', 1], ['a', 2]] | sort | first
messages | map(attribute='role') | unique | join(',')
messages | length
messages[-1].role
messages[:1] | length
messages[99]
messages[99].role
'x' * (messages | length)
messages | first | tojson
messages | selectattr('role', 'ne', 'user') | list | length
messages | groupby('role') | map('first') | list
(messages | last)['content'] | wordcount
"  a\\n b" | trim | replace("\\n", "|")
'abc' | map('upper') | list
{'a': 1, 'b': 2} | map('upper') | join
[1, 2, 3] | map('string') | join('+')
[1, 2, 3] | map('multiply') | list
"x" | indent(width=4, first=true)
3 | string ~ 4
[1, 2, 3] | reject('in', [2]) | list
[none, 1] | reject('none') | list
[1, 'a', [2]] | select('string') | list
[3, 2] | sort | join
{'a': 2, 'b': 1} | dictsort(false, 'value') | map('first') | join
"%05.1f" | format(3.14159)
"%s" | format
"a%" | format("x")
"""

TESTS = """
'abc' is sequence
{'a': 1} is sequence
[1] is sequence
(1, 2) is sequence
1 is sequence
missing is sequence
{'a': 1}.items() is sequence
messages[0].content is sequence
'abc' is iterable
1 is iterable
{'a': 1} is iterable
none is iterable
missing is iterable
'abc' is mapping
{'a': 1} is mapping
messages[0] is mapping
namespace(a=1) is mapping
'abc' is string
1 is string
raise_exception is callable
'abc' is callable
range is callable
1 is number
1.5 is number
true is number
'1' is number
true is boolean
1 is boolean
1 is integer
true is integer
1.0 is integer
1.0 is float
1 is float
none is none
missing is none
missing is undefined
missing is not defined
messages[0].nope is defined
3 is odd
4 is even
9 is divisibleby 3
9 is divisibleby(2)
1 is sameas 1
true is sameas true
1 is sameas true
none is sameas none
[] is sameas []
2 is in [1, 2]
2 is not in [1, 2]
'a' is in 'abc'
1 is eq 1
1 is == 1
1 is equalto 1.0
1 is ne 2
1 is lt 2
2 is le 2
3 is gt 2
3 is greaterthan 2
2 is ge 3
true is true
1 is true
false is false
0 is false
'abc' is lower
'ABC' is upper
'abc' is escaped
'upper' is filter
'nope' is filter
'odd' is test
1 is notatest
1 is defined and 2 is even
not 1 is odd
1 is number and 'x' is string
'x' is string and 'x' is not mapping
1.5 is not integer
messages[0].content is string and messages[0].content is not none
tools is none
tools is defined
tools is not none
documents is none
documents is defined
add_generation_prompt is defined
bos_token is defined
pad_token is defined
cls_token is defined
"a" is eq("a")
[1] is eq [1]
{} is eq {}
1 is number | string
'a' ~ 1 is string
true is not false
loop is defined
caller is defined
varargs is defined
'b' is in {'b': 1}
5 is between(1, 10)
"""

TEMPLATES = [
    # (template, messages, tools, options)
    ("a\r\nb\r{% if true %}\r\nc\r\n{% endif %}\r\nd\r\n", USER, None, {}),
    ("{{ 'x\r\ny' }}{{ 'a\\r\\nb' | tojson }}", USER, None, {}),
    ("{{ 'x' }}\n\n", USER, None, {}),
    ("  {% if true %}\n  a\n  {% endif %}\n b {%- if true -%} \n c {%- endif %}\n", USER, None, {}),
    ("  {%+ if true %}\n x{% endif +%}\n y", USER, None, {}),
    ("{#- c -#} a {# b #}\n c\n  {# d #}\n e", USER, None, {}),
    ("{% raw %}{{ x }}{% y %}{% endraw %}z", USER, None, {}),
    ("{% raw -%}  {{ x }}  {%- endraw %}z", USER, None, {}),
    ("{%- for m in messages -%}\n  {{ m.role }}: {{ m.content }}\n{%- endfor -%}\n", CALLED[:2], None, {}),
    ("{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
     USER, None, {}),
    ("{% for i in [] %}x{% else %}empty{% endfor %}", USER, None, {}),
    ("{% for i in missing %}x{% else %}empty{% endfor %}", USER, None, {}),
    ("{% for i in none %}x{% endfor %}", USER, None, {}),
    ("{% for c in 'abc' %}{{ c }},{% endfor %}", USER, None, {}),
    ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}", USER, None, {}),
    ("{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}", USER, None, {}),
    ("{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", USER, None, {}),
    ("{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", USER, None, {}),
    ("{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}:{{ i }}/{{ loop.length }} {% endfor %}", USER, None, {}),
    ("{% for i in 'abc' %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}"
     "{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{{ loop.depth }}{{ loop.changed(i) }} {% endfor %}", USER, None, {}),
    ("{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}{% endif %}{% endfor %}",
     USER, None, {}),
    ("{% for i in [1, 2] %}{% set x = i %}{% endfor %}{{ x }}", USER, None, {}),
    ("{% set x = 1 %}{% for i in [1, 2] %}{% set x = i %}{% endfor %}{{ x }}", USER, None, {}),
    ("{% set ns = namespace(n=0, l=[]) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% set ns.l = ns.l + [i] %}{% endfor %}"
     "{{ ns.n }}{{ ns.l }}", USER, None, {}),
    ("{% set a, b = 1, 2 %}{{ a }}{{ b }}", USER, None, {}),
    ("{% set t = 1, 2 %}{{ t }}", USER, None, {}),
    ("{% set x %}a{{ 1 }}b{% endset %}{{ x }}|{{ x | length }}", USER, None, {}),
    ("{% set x | upper %}ab{% endset %}{{ x }}", USER, None, {}),
    ("{% set x = {'a': [1, 2], } %}{{ x['a'][-1] }}{{ x.a[0] }}", USER, None, {}),
    ("{% set x = (1, 'a') %}{{ x }}{{ x is sequence }}{{ x | tojson }}", USER, None, {}),
    ("{% set x = messages %}{{ x[0] is mapping }}{{ x[0].content | length }}", USER, None, {}),
    ("{% set x = {'a': 1}.items() %}{{ x }}", USER, None, {}),
    ("{% set d = {'a': 1} %}{% set e = dict(d, b=2) %}{{ e }}{{ d }}", USER, None, {}),
    ("{% set loop_messages = messages[1:] %}{{ loop_messages | length }}", CALLED, None, {}),
    ("{% set u = missing %}{{ u is defined }}{{ u }}", USER, None, {}),
    ("{% macro f(a, b=2, *args) %}x{% endmacro %}{{ f(1) }}", USER, None, {}),
    ("{% macro f(a) %}[{{ caller() }}{{ a }}]{% endmacro %}{% call f(1) %}in{% endcall %}", USER, None, {}),
    ("{% macro f(a) %}{{ caller(a) }}{% endmacro %}{% call(x) f(1) %}in{{ x }}{% endcall %}", USER, None, {}),
    ("{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(30) }}", USER, None, {}),
    ("{% macro f(x) %}  a\n{% endmacro %}[{{ f(1) | trim }}]{{ f.name }}", USER, None, {}),
    ("{% macro render(s) %}{% if s is mapping %}{%- for k, v in s.items() %}{{ k }}:{{ render(v) }},{% endfor %}{% else %}{{ s }}"
     "{% endif %}{% endmacro %}{{ render(tools[0]) }}", USER, "deep", {}),
    ("{{ tools | tojson }}", USER, "deep", {}),
    ("{% set ns = namespace(x=1) %}{% macro g() %}{{ ns.x }}{% endmacro %}{% set ns.x = 2 %}{{ g() }}", USER, None, {}),
    ("{% filter upper %}abc{% endfilter %}", USER, None, {}),
    ("{% filter replace('a', 'b') | upper %}aaa{% endfilter %}", USER, None, {}),
    ("{% with a=1, b=2 %}{{ a + b }}{% endwith %}{{ a }}", USER, None, {}),
    ("{% block x %}y{% endblock %}{{ self.x() }}", USER, None, {}),
    ("{% if x is not defined %}{% set x = 'd' %}{% endif %}{{ x }}", USER, None, {}),
    ("{% if not x is defined %}y{% elif true %}n{% endif %}", USER, None, {}),
    ("{% if false %}a{% elif 1 == 1 %}b{% else %}c{% endif %}", USER, None, {}),
    ("{% generation %}a{{ 1 }}{% endgeneration %}b", USER, None, {}),
    ("a\n  {% generation %}\n  b\n  {%- endgeneration -%}\n c", USER, None, {}),
    ("{% for m in messages %}{% generation %}{% set y = m.role %}{{ y }}{% endgeneration %}{{ y }}{% endfor %}", USER, None, {}),
    ("{% set y = 1 %}{% generation %}{% set y = 2 %}{{ y }}{% endgeneration %}{{ y }}", USER, None, {}),
    ("{{ messages }}", CALLED, None, {}),
    ("{{ messages[2].tool_calls[0].function.arguments | tojson }}", CALLED, None, {}),
    ("{{ messages[2].content is defined }}{{ messages[2].content }}{{ 'content' in messages[2] }}", CALLED, None, {}),
    ("{% for k, v in messages[2].tool_calls[0].function.arguments.items() %}{{ k }}={{ v }}|{{ v | tojson }};{% endfor %}", CALLED, None, {}),
    ("{{ messages[2].tool_calls[0] }}", CALLED, None, {}),
    ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}<{{ c.text }}>{% endfor %}{% endif %}{% endfor %}",
     PARTS, None, {}),
    ("{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}<{{ c.text }}>{% endfor %}{% endif %}{% endfor %}",
     USER, None, {}),
    ("{% for m in messages %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }},{% endif %}{% endfor %}{% endfor %}Q", PARTS, None, {}),
    ("{{ tools | tojson }}{{ tools[0].function.description is defined }}", USER, [TOOL], {}),
    ("{{ tools | tojson(indent=4) }}{{ tools[0] }}", USER, [STRICT], {}),
    ("{% for t in tools %}{{ t.function.name }}{{ t.function.parameters.properties | length }}{% endfor %}", USER, [STRICT], {}),
    ("{{ messages[1].reasoning_content }}{{ messages[1].thinking }}{{ messages[1] | tojson }}", REASONED, None, {}),
    ("{{ messages[0].content }}{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}", USER, None,
     {"variables": {"enable_thinking": False}}),
    ("{{ level | default('high') }}{{ bos_token }}", USER, None, {"variables": {"level": "low", "bos_token": "<x>"}}),
    ("{{ a }}{{ b }}{{ c.d }}", USER, None, {"variables": {"a": 1.0, "b": None, "c": {"d": [1, "x"]}}}),
    ("{% for d in documents %}{{ d.title }}:{{ d.text }};{% endfor %}", USER, None,
     {"documents": [{"title": "T", "text": "x"}, {"title": "U", "text": "y"}]}),
    ("{% for m in messages %}{{ m.role }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}", USER, None,
     {"end": "conversation"}),
    ("{% for m in messages %}{{ m.role }}:{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
     USER + [{"role": "assistant", "content": "It is "}], None, {"end": "final"}),
    ("{% for m in messages %}{{ m.role }}:{{ m.content | trim }}</s>{% endfor %}",
     USER + [{"role": "assistant", "content": "It is "}], None, {"end": "final"}),
    ("{% for m in messages %}{{ m.role }}</s>{% endfor %}{# content #}", USER + [{"role": "assistant", "content": "It is"}], None, {"end": "final"}),
    ("{{ messages[0]['content'][0:5] + '...' }}", USER, None, {}),
    ("{{ (messages | selectattr('role', 'equalto', 'system') | list | first).content }}", CALLED, None, {}),
    ("{{ bos_token + messages[0]['content'] | trim + eos_token }}", USER, None, {}),
    ("{{- bos_token }}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
     "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n{{ messages|length }}{{ system_message }}",
     CALLED, None, {}),
    ("{% set ns = namespace(multi_step_tool=true, last=messages|length - 1) %}{%- for message in messages[::-1] %}"
     "{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == 'user' %}"
     "{%- set ns.multi_step_tool = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}", CALLED, None, {}),
    ("{% set c = messages[0].content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ c }}",
     [{"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes"}], None, {}),
    ("{% set j = joiner('; ') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}", USER, None, {}),
    ("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}", USER, None, {}),
    ("{% include 'x' %}", USER, None, {}),
    ("{% set _ = [1].append(2) %}", USER, None, {}),
    ("{% set ns = namespace(_x=1) %}", USER, None, {}),
    ("{% set ns = namespace(a=1) %}{{ ns }}", USER, None, {}),
    ("{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns['a'] }}", USER, None, {}),
    ("{% do [1] %}", USER, None, {}),
    ("{% trans %}x{% endtrans %}", USER, None, {}),
    ("{{ {'a': 1} | tojson | replace('\"', \"'\") }}", USER, None, {}),
    ("{{ ['a', 'b'] | map('tojson') | join(', ') }}", USER, None, {}),
    ("{% for group in [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}] | groupby('a') %}{{ group.grouper }}{{ group.list | length }}{{ group[0] }}{% endfor %}", USER, None, {}),
    ("{% for k, g in [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}] | groupby('a') %}{{ k }}{{ g | map(attribute='b') | join }}{% endfor %}", USER, None, {}),
    ("{{ range(5) | join }}{{ range(2, 5)[0] }}{{ range(3) | length }}", USER, None, {}),
    ("{{ 'a' if messages[0].role == 'user' else 'b' }}{{ 'x' if missing }}", USER, None, {}),
    ("{{ '%s: %s' % (messages[0].role, messages[0].content) }}", USER, None, {}),
    ("{%- set x = 'it''s' -%}{{ x }}", USER, None, {}),
    ("{{ \"it's\" }}{{ 'say \"x\"' }}{{ '}}' }}{{ '%}' }}{{ '{{' }}", USER, None, {}),
    ("{% if messages[0]['content'] is string %}{{ messages[0]['content'].strip() }}{% endif %}", USER, None, {}),
    ("{{ messages[0].items() | list }}", USER, None, {}),
    ("{{ messages[0].keys() | list }}{% for k in messages[0] %}{{ k }}{% endfor %}", USER, None, {}),
    ("{{ {'keys': 1}.keys }}{{ {'keys': 1}['keys'] }}{{ {'x': {'get': 2}}.x.get }}", USER, None, {}),
    ("{{ messages[0].get('nope', 'dflt') }}{{ messages[0].get('role') }}", USER, None, {}),
    ("{{ raise_exception('Conversation roles must alternate!') }}", USER, None, {}),
    ("{% if messages[0].role != 'system' %}{{ raise_exception('no system: ' + messages[0].role) }}{% endif %}", USER, None, {}),
    ("{{ 1 / 0 }}", USER, None, {}),
    ("{{ messages[0].content.nope() }}", USER, None, {}),
    ("{{ 'a' + 1 }}", USER, None, {}),
    ("{{ 1 + 'a' }}", USER, None, {}),
    ("{{ [1] + 'a' }}", USER, None, {}),
    ("{{ 'a' - 1 }}", USER, None, {}),
    ("{{ 'a' * 1.5 }}", USER, None, {}),
    ("{{ none + 'a' }}", USER, None, {}),
    ("{{ none.x }}", USER, None, {}),
    ("{{ none['x'] }}", USER, None, {}),
    ("{{ none | length }}", USER, None, {}),
    ("{{ {'a': 1} + {'b': 2} }}", USER, None, {}),
    ("{{ messages[0]['role'] ~ (5 if tools else '') ~ (tools | length if tools else 0) }}", USER, [TOOL], {}),
    ("{{ '\\u2028' }}|{{ '\\t' }}|{{ '\\'' }}|{{ \"\\\"\" }}", USER, None, {}),
    ("{% set a = 'x' %}{% set b = a %}{% if a is sameas b %}y{% endif %}", USER, None, {}),
    ("{% for i in range(3) %}{% for j in range(2) %}{{ loop.index }}{{ loop.depth }}{% endfor %};{% endfor %}", USER, None, {}),
    ("{% for i in range(3) %}{% set outer = loop %}{% for j in range(2) %}{{ outer.index }}{{ loop.index }}{% endfor %};{% endfor %}", USER, None, {}),
    ("{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}>{{ m.role }}>{{ loop.nextitem.role if not loop.last }};{% endfor %}", CALLED, None, {}),
    ("{%if true%}a{%endif%}{{1}}{{ -1 }}{{+1}}", USER, None, {}),
    ("{% if (1, 2) == (1, 2) and [1] != [2] and not (1 > 2 or 3 < 2) %}ok{% endif %}", USER, None, {}),
    ("{{ messages[0].content | list | length }}{{ messages[0].content | reverse }}{{ messages[0].content | striptags }}", USER, None, {}),
    ("{{ foo(1) }}", USER, None, {}),
    ("{{ messages.role }}{{ messages.0.role }}", USER, None, {}),
    ("{{ messages|map(attribute='0')|list }}", USER, None, {}),
    ("{{ [1,2,3].0 }}{{ 'abc'.1 }}", USER, None, {}),
    ("{%- if tools is not none and tools %}T{% endif %}{% if tools %}U{% else %}V{% endif %}", USER, None, {}),
    ("{% set x = 5 %}{% block b %}{{ x }}{% endblock %}", USER, None, {}),
    ("{% extends 'x' %}", USER, None, {}),
    ("{% import 'x' as y %}", USER, None, {}),
    ("{{ {'a':1,'a':2} }}{{ {} }}{{ [] }}{{ '' }}", USER, None, {}),
    ("{{ 'A' | lower | upper ~ 'b' | capitalize }}", USER, None, {}),
    ("{{ 'x'|default }}{{ missing|default }}|", USER, None, {}),
    ("{{ 3 is divisibleby 3 and 'a' is string }}{{ 5 is not divisibleby(2) }}", USER, None, {}),
    ("{{ (1, 2, 3) | last }}{{ (1, 2)[0] }}{{ ((1, 2), 3) }}", USER, None, {}),
    ("{{ 10 // 3 }}{{ 10.0 // 3 }}{{ 10 % 3 }}{{ 2 ** 3 ** 2 }}{{ 7 // 0.5 }}", USER, None, {}),
    ("{{ 1 if messages | length > 0 and messages[0].role in ['user', 'system'] else 0 }}", USER, None, {}),
    ("{{ {'role': 'x', **{'a': 1}} }}", USER, None, {}),
    ("{{ [*[1, 2], 3] }}", USER, None, {}),
    ("{{ dict(messages[0]).role }}{{ dict(**messages[0]).role }}", USER, None, {}),
    ("{% macro f(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'a': 3, 'b': 4}) }}", USER, None, {}),
    ("{{ lambda x: x }}", USER, None, {}),
    ("{{ [x for x in [1]] }}", USER, None, {}),
    ("{{ 'a' is not string or 'b' }}", USER, None, {}),
    ("{{ 'abc' | truncate(2) }}{{ 'a' | center(3) | tojson }}", USER, None, {}),
    ("{% for x in [1, 2, 3] | reverse %}{{ x }}{% endfor %}{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}", USER, None, {}),
    ("{{ messages[0].content.split(' ') | select | map('lower') | join('_') }}", USER, None, {}),
    ("{{ [[1, 'a'], [2, 'b']] | map('last') | join }}{{ dict([[1, 'a'], [2, 'b']]) }}", USER, None, {}),
    ("{{ {'type': 'array', 'items': {'type': 'string'}}.items }}", USER, None, {}),
    ("{% set s = {'type': 'array', 'items': {'type': 'string'}} %}{{ s['items'].type }}{{ s['items']['type'] }}{{ s.type }}", USER, None, {}),
    ("{% set s = {'type': ['string', 'null']} %}{% if s.type is iterable and s.type is not string %}{{ s.type | join(' | ') }}{% endif %}", USER, None, {}),
]
DIRECTIVES = "a A w d -d b B m -m y Y H -H I -I p M -M S -S f z Z j -j U W c x X % G u V e k l s P D F T R r h n t C g N E E_ _d 0d ^a #a :z +".split(" ")


def deep(levels):
    schema = {"type": "string", "x": 1.5}
    for level in range(levels):
        schema = {"type": "object", "properties": {f"p{level}": schema}}
    return [{"type": "function", "function": {"name": "f", "parameters": schema}}]


DATE_FORMAT = "%G-%V-%u %g %U %W %w %j %y %C %I %p %k %l %e %c|%-j %_m %3d %10B %^p %#p %s"
DATES = ["1970-01-01 00:00:00", "1999-12-31 23:59:59", "2000-01-01 12:00:00", "2000-02-29 00:30:00", "2000-12-31 13:05:09",
         "2004-12-31 01:02:03", "2005-01-01 11:59:59", "2008-12-29 10:00:00", "2009-12-31 00:00:00", "2010-01-03 20:15:00",
         "2012-12-31 09:09:09", "2016-01-01 06:00:00", "2016-12-31 18:45:00", "2017-01-01 12:34:56", "2018-12-31 22:22:22",
         "2020-12-31 03:04:05", "2021-01-03 15:16:17", "2024-02-29 12:34:56", "2024-12-30 00:00:01", "2026-11-29 21:00:00",
         "2027-01-01 08:00:00", "2099-12-31 23:59:59", "2100-03-01 00:00:00"]


def dates():
    """The cases for dates, in the time zone UTC."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    for text in DATES:
        date = datetime.datetime.fromisoformat(text)
        yield int(date.replace(tzinfo=datetime.timezone.utc).timestamp()), date.strftime(DATE_FORMAT)


class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 2, 3, 4, 5, 6, 789012, tzinfo=tz)


def cases():
    for group in (PRINTING, METHODS, FILTERS, TESTS):
        for line in group.strip().replace("\\\n", "\\\0").split("\n"):
            yield "{{ " + line.replace("\0", "\n") + " }}", USER, None, {}
    for directive in DIRECTIVES:
        yield "{{ strftime_now('%" + directive + "') }}", USER, None, {}
    yield "{{ strftime_now('%d %b %Y, %A %H:%M:%S %%') }}{{ strftime_now('') }}{{ strftime_now('ä%Yö%') }}", USER, None, {}
    yield from TEMPLATES


def main():
    import transformers.utils.chat_template_utils as utils
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    utils.datetime = Now
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), bos_token="<s>", eos_token="</s>")
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    table = []
    for template, messages, tools, options in cases():
        tools = deep(24) if tools == "deep" else tools
        end = options.get("end", "generation")
        case = dict(template=template, messages=messages, tools=tools, **options)
        if tools is not None and len(str(tools)) > 900:
            case["tools"] = "deep"
        try:
            case["rendered"] = tokenizer.apply_chat_template(
                messages, tools=tools, documents=options.get("documents"), chat_template=template, tokenize=False,
                add_generation_prompt=end == "generation", continue_final_message=end == "final", **options.get("variables", {}))
        except Exception as error:  # Whatever it is, the conversation is refused.
            case["refused"] = f"{type(error).__name__}: {error}"
        for name in [name for name in ("tools",) if case[name] is None]:
            del case[name]
        if messages is USER:
            del case["messages"]
        if "0x7" in case.get("rendered", "") or " object at " in case.get("rendered", ""):
            continue  # An address in memory.
        table.append(case)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in table)
    shared = dict(question=USER, deep=deep(24), date_format=DATE_FORMAT, dates=list(dates()))
    document = json.dumps(shared, ensure_ascii=False)[:-1] + ', "cases": [\n%s\n]}\n' % lines
    (folder / "templates" / "table.json").write_text(document)
    print("table", len(table), "of which refused", sum("refused" in case for case in table))


if __name__ == "__main__":
    main()
