//! Templates that parse: each byte of an input chooses the next fragment of Jinja.

/// Opens a block, with what closes it.
const BLOCKS: [(&str, &str); 10] = [
    ("{% for a in E recursive %}", "{% endfor %}"),
    ("{% for a in E if E %}", "{% else %}e{% endfor %}"),
    ("{% if E %}", "{% elif E %}f{% else %}g{% endif %}"),
    (
        "{% macro f(a, b=E) %}",
        "{{ caller }}{{ varargs }}{{ kwargs }}{% endmacro %}",
    ),
    ("{% call(a) f(E, E) %}", "{% endcall %}"),
    ("{% set a %}", "{% endset %}"),
    ("{% set n.a | F %}", "{% endset %}"),
    ("{% filter F %}", "{% endfilter %}"),
    ("{% with a=E, b=E %}", "{% endwith %}"),
    ("{%- generation -%}", "{%- endgeneration -%}"),
];

const STATEMENTS: [&str; 14] = [
    "{{ E }}",
    "{% set a = E %}",
    "{% set b = E %}",
    "{% set n.a = E %}",
    "{% set n.b = E %}",
    "{% set n = namespace(a=E) %}",
    "{% set a, b = E %}",
    "{% do E %}",
    "{% break %}",
    "{% continue %}",
    "{{ f(E, E) }}",
    "{{ loop(E) }}",
    " x\n",
    "{# c #}",
];

const EXPRESSIONS: [&str; 40] = [
    "a",
    "b",
    "n",
    "n.a",
    "n.b",
    "f",
    "loop",
    "caller",
    "messages",
    "messages[0]",
    "bos_token",
    "1",
    "2.5",
    "'ab'",
    "none",
    "true",
    "9223372036854775807",
    "(E + E)",
    "(E ~ E)",
    "(E * E)",
    "(E - E)",
    "(E / E)",
    "(E // E)",
    "(E % E)",
    "(E ** E)",
    "[E, E]",
    "(E, E)",
    "{'a': E, E: E}",
    "(E if E else E)",
    "(not E)",
    "(-E)",
    "(E in E)",
    "(E == E)",
    "(E < E)",
    "(E and E or E)",
    "E[E:E:E]",
    "E[E]",
    "E|F",
    "E.M",
    "range(E)",
];

const FILTERS: [&str; 36] = [
    "length",
    "list",
    "string",
    "tojson",
    "tojson(indent=E)",
    "join(E)",
    "sort",
    "unique",
    "min",
    "max",
    "sum(start=E)",
    "first",
    "last",
    "reverse",
    "map('F0')",
    "map(attribute=E)",
    "select('eq', E)",
    "selectattr(E)",
    "groupby(E)",
    "batch(E, E)",
    "slice(E)",
    "center(E)",
    "indent(E, true)",
    "replace(E, E)",
    "truncate(E)",
    "default(E)",
    "items",
    "dictsort",
    "int",
    "float",
    "round(E)",
    "abs",
    "trim(E)",
    "format(E)",
    "upper",
    "pprint",
];

const METHODS: [&str; 22] = [
    "items()",
    "get(E, E)",
    "keys()",
    "index(E)",
    "count(E)",
    "split(E)",
    "rsplit()",
    "strip(E)",
    "startswith(E)",
    "replace(E, E)",
    "join(E)",
    "format(E)",
    "find(E)",
    "center(E)",
    "zfill(E)",
    "splitlines()",
    "title()",
    "partition(E)",
    "a",
    "b",
    "content",
    "append(E)",
];

/// Most fragments in one another.
const DEPTH: usize = 24;
/// Most bytes of a template.
const MOST: usize = 16 << 10;

struct Choices<'a> {
    rest: std::slice::Iter<'a, u8>,
    out: String,
}

/// The template that `choices` make.
pub fn template(choices: &[u8]) -> String {
    let mut choices = Choices {
        rest: choices.iter(),
        out: "{% set n = namespace() %}".into(),
    };
    while choices.rest.len() > 0 && choices.out.len() < MOST {
        choices.statement(0);
    }
    choices.out
}

impl Choices<'_> {
    fn one<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.rest.next().copied().unwrap_or(0);
        from[usize::from(at) % from.len()]
    }

    fn statement(&mut self, depth: usize) {
        let is_block = depth < DEPTH && self.rest.next().is_some_and(|byte| byte % 3 == 0);
        if !is_block {
            let statement = self.one(&STATEMENTS);
            return self.filled(statement, depth);
        }
        let (open, close) = self.one(&BLOCKS);
        self.filled(open, depth);
        for _ in 0..self.rest.next().map_or(0, |byte| byte % 4) {
            self.statement(depth + 1);
        }
        self.filled(close, depth);
    }

    /// A fragment with its `E`, `F` and `M` chosen.
    fn filled(&mut self, fragment: &str, depth: usize) {
        let mut chars = fragment.chars().peekable();
        let mut before = ' ';
        while let Some(c) = chars.next() {
            let ends = chars.peek().is_none_or(|next| !next.is_alphanumeric());
            let alone = !before.is_alphanumeric() && ends && depth < 2 * DEPTH;
            before = c;
            match c {
                'E' if alone && self.out.len() < MOST => {
                    let inner = self.one(&EXPRESSIONS);
                    self.filled(inner, depth + 2);
                }
                'E' if !before.is_alphanumeric() || ends => self.out.push('1'),
                'F' if alone => {
                    let inner = self.one(&FILTERS);
                    self.filled(inner, depth + 2);
                }
                'F' if ends => self.out.push_str("list"),
                'M' if alone => {
                    let inner = self.one(&METHODS);
                    self.filled(inner, depth + 2);
                }
                'M' if ends => self.out.push('a'),
                c => self.out.push(c),
            }
        }
    }
}

/// Attacks that once stopped a server: to be tried first, and to be varied.
pub const ATTACKS: [&str; 10] = [
    "{% set ns=namespace() %}{% set ns.s=ns %}{{ ns }}",
    "{% set n=namespace(l=[1]) %}{% for i in range(60) %}{% set n.l=n.l+n.l %}{% endfor %}{{ n.l|length }}",
    "{% set n=namespace(l=[1]) %}{% for i in range(60) %}{% set n.l=[n.l,n.l] %}{% endfor %}{{ n.l }}{{ n.l == n.l }}",
    "{{ '{:6000000000}'.format(1) }}{{ '%6000000000d' % 1 }}{{ 'x'|center(6000000000) }}",
    "{{ not not not not not not - - - 1 }}{{ ((((([[[[{1:{2:3}}]]]]))))) }}",
    "{{ 1 + 1 ~ 1 * 1 ** 1 and 1 or 1 if 1 else 1 if 1 else 1 }}{{ 'a'|d|d|d.a.b[0][1:]()() is not none }}",
    "{% if 0 %}{% elif 0 %}{% elif 0 %}{% endif %}{% for a in [[1]] recursive %}{{ loop(a) }}{% endfor %}",
    "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}{% call f(f) %}{{ caller() }}{% endcall %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
    "{{ range(99999)|batch(1)|map('batch', 1)|list|tojson(indent=99999) }}{{ ('a' * 99999).split('a')|sort|unique }}",
];
