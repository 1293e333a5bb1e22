//! Templates that would take a server down if nothing bounded them: each has to end as an error, or
//! as a text of its right size, on a small stack.

use super::limits::MAX_NESTING;
use super::*;

/// Less than any thread has that renders: the engine's and the workers' have 2 MiB, a sandbox 1
/// MiB. Without optimisation every frame is several times its size, so that there it is a thread's
/// default.
const STACK: usize = if cfg!(debug_assertions) {
    2 << 20
} else {
    512 << 10
};

/// Less than a conversation gets, so that what ends at a limit ends soon.
const WORK: u64 = 1_000_000;
const BYTES: u64 = 16 << 20;

/// The text of a template on a small stack.
fn run(source: &str) -> Result<String, Error> {
    let source = source.to_owned();
    let render = move || {
        let budget = Budget::of(WORK, BYTES);
        let template = Template::parse(&source)?;
        template.render(vec![("x".into(), Value::None)], &budget)
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(render);
    thread.unwrap().join().unwrap()
}

/// Ends at a limit.
fn limited(source: &str) {
    let ended = run(source);
    let is_limit = matches!(
        &ended,
        Err(Error {
            fault: Fault::Limit(_),
            ..
        })
    );
    assert!(
        is_limit,
        "{}: {:?}",
        shown(source),
        ended.map(|text| text.len())
    );
}

/// Fails, and says why.
fn fails(source: &str, why: &str) {
    match run(source) {
        Err(Error {
            fault: Fault::Failed(message),
            ..
        }) if message.contains(why) => {}
        ended => panic!("{}: {ended:?}", shown(source)),
    }
}

fn shown(source: &str) -> &str {
    &source[..source.len().min(80)]
}

#[test]
fn no_value_contains_itself() {
    for source in [
        "{% set ns.s = ns %}",
        "{% set ns.s = [ns] %}",
        "{% set ns.s = {'a': (ns,)} %}",
        "{% set ns.s = ns2 %}",
        "{% set ns.s = [ns].index %}",
        "{% for a in [1] %}{% set ns.s = loop %}{% endfor %}",
        "{% set other = namespace(x=ns) %}",
        "{% set (ns.s, a) = (ns, 1) %}",
    ] {
        let made = "{% set ns = namespace() %}{% set ns2 = namespace() %}";
        for used in ["{{ ns }}", "{{ ns == ns2 }}", "{{ ns.s | string }}", ""] {
            fails(&format!("{made}{source}{used}"), "namespace");
        }
    }
    fails(
        "{% for a in [1] %}{{ loop.changed(loop) }}{% endfor %}",
        "nest",
    );
    fails("{% for a in [1] %}{{ [loop] }}{% endfor %}", "nest");
    // What a macro is called with, and a namespace that nothing holds, are no cycles.
    let passed = "{% macro f(n) %}{% set n.x = 1 %}{% endmacro %}{% set ns = namespace() %}{{ f(ns) }}{{ ns.x }}";
    assert_eq!(run(passed).unwrap(), "1");
}

#[test]
fn lists_and_dicts_nest_to_a_bound() {
    fails(
        "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}",
        "32 levels",
    );
    let sets = |set: &str, n| format!("{{% set l = [] %}}{}", set.repeat(n));
    for set in [
        "{% set l = [l] %}",
        "{% set l = (l,) %}",
        "{% set l = {'a': l} %}",
        "{% set l = dict(a=l) %}",
    ] {
        fails(&sets(set, 9999), "64 levels");
        for used in [
            "{{ l }}",
            "{{ l | tojson }}",
            "{{ l == [l] }}",
            "{{ l ~ l }}",
            "{{ [l, l] | unique }}",
        ] {
            let deep = sets(set, 62) + used;
            assert!(run(&deep).is_ok(), "{}: {:?}", shown(&deep), run(&deep));
        }
    }
}

#[test]
fn what_doubles_ends_at_the_memory_bound() {
    for double in [
        "l + l",
        "l ~ l",
        "l * 2",
        "[l, l] | join",
        "l | replace('x', 'xx')",
        "'%s%s' % (l, l)",
        "'{0}{0}'.format(l)",
        "l.replace('x', 'xx')",
        "'x'.join([l, l])",
        "l | list + l | list",
    ] {
        let source = format!(
            "{{% set l = 'x' %}}{}{{{{ l | length }}}}",
            format!("{{% set l = {double} %}}").repeat(60)
        );
        assert!(run(&source).is_err(), "{double}");
    }
    limited(&format!(
        "{{% set l = [1] %}}{}{{{{ l | length }}}}",
        "{% set l = l + l %}".repeat(60)
    ));
    limited(&format!(
        "{{% set l = 'x' %}}{}",
        "{% set l %}{{ l }}{{ l }}{% endset %}".repeat(60)
    ));
    assert_eq!(
        run(&format!(
            "{{% set l = [1] %}}{}{{{{ l | length }}}}",
            "{% set l = l + l %}".repeat(10)
        ))
        .unwrap(),
        "1024"
    );
}

#[test]
fn values_that_share_their_parts_are_walked_on_the_budget() {
    let shared = format!(
        "{{% set l = [1] %}}{{% set m = [1] %}}{}",
        "{% set l = [l, l] %}{% set m = [m, m] %}".repeat(60)
    );
    for used in [
        "l",
        "l | tojson",
        "l == m",
        "l < m",
        "l in [m]",
        "[l, m] | sort",
        "[l, m] | unique",
        "l ~ ''",
        "l | join",
        "l | pprint",
        "l | upper",
        "[l] | min == m",
        "'%s' % [l]",
        "'{}'.format(l)",
        "[m].index(l)",
        "{'a': l} == {'a': m}",
    ] {
        limited(&format!("{shared}{{{{ {used} }}}}"));
    }
}

#[test]
fn widths_and_counts_are_checked_before_they_are_made() {
    for one in [
        "'{:6000000000}'.format(1)",
        "'{:06000000000}'.format(1)",
        "'{:>6000000000}'.format('a')",
        "'%6000000000d' % 1",
        "'%06000000000d' % 1",
        "'%-6000000000s' % 'a'",
        "'x' | center(6000000000)",
        "'x'.center(6000000000)",
        "'x'.ljust(6000000000)",
        "'x'.rjust(6000000000, 'é')",
        "'x'.zfill(9223372036854775807)",
        "'x' | indent(6000000000, true)",
        "[1] | tojson(indent=6000000000)",
        "'x' * 6000000000",
        "[1] * 6000000000",
        "(1,) * 6000000000",
        "[1] | slice(6000000000)",
        "[1] | batch(6000000000, 0)",
        "range(100000) | batch(1) | list * 99",
    ] {
        limited(&format!("{{{{ {one} }}}}"));
    }
    for (one, why) in [
        ("'{:.6000000000f}'.format(1)", "precision"),
        ("'%.6000000000f' % 1", "precision"),
        ("'{:99999999999999999999}'.format(1)", "width"),
        ("range(1000000000000)", "range"),
        ("range(-9223372036854775807, 9223372036854775807)", "range"),
        ("2 ** 100000000000", "64 bits"),
        ("9223372036854775807 * 2", "64 bits"),
        ("(-9223372036854775807 - 1) // -1", "64 bits"),
        ("(-9223372036854775807 - 1) | abs", "64 bits"),
    ] {
        fails(&format!("{{{{ {one} }}}}"), why);
    }
    assert_eq!(
        run("{{ '' * 9223372036854775807 }}{{ [] * 9223372036854775807 }}").unwrap(),
        "[]"
    );
}

#[test]
fn loops_and_recursion_end() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% for a in range(99999) if range(99999) | sum %}{% endfor %}",
        "{{ range(99999) | select('in', range(99999)) | list }}",
        "{{ range(99999) | unique | list }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}{% endcall %}",
        "{% macro f() %}{{ [1, {'a': (f(),)}] }}{% endmacro %}{{ f() }}",
        "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{% if s == s ~ '' %}{% endif %}{% endfor %}",
        "{% set s = 'é' * 999999 %}{% for i in range(99999) %}{% set c = s[999998] %}{% endfor %}",
        "{% set s = 'a' * 999999 %}{% for i in range(99999) %}{{ s.find('b') }}{{ s | wordcount }}{% endfor %}",
        "{% set s = 'a' * 999999 %}{% for i in range(999) %}{{ s }}{% endfor %}",
    ] {
        limited(source);
    }
    let macro_20_deep =
        "{% macro f(n) %}{% if n > 0 %}<{{ f(n - 1) }}>{% endif %}{% endmacro %}{{ f(20) }}";
    assert_eq!(
        run(macro_20_deep).unwrap(),
        format!("{}{}", "<".repeat(20), ">".repeat(20))
    );
}

/// For everything that nests: the deepest that is taken is parsed, rendered and dropped, and one
/// more is refused, as is a hundred thousand more.
#[test]
fn nesting_is_bounded_before_it_is_parsed() {
    let nest = |open: &str, inner: &str, close: &str, n| {
        format!("{}{inner}{}", open.repeat(n), close.repeat(n))
    };
    for (open, inner, close) in [
        ("not ", "1", ""),
        ("- ", "1", ""),
        ("+", "1", ""),
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("(1,", "1", ")"),
        ("x[", "1", "]"),
        ("'a'[:", "1", "]"),
        ("f(", "1", ")"),
        ("f(a=", "1", ")"),
        ("f(**", "1", ")"),
        ("1 | d(", "1", ")"),
        ("1 is eq(", "1", ")"),
        ("1 in (", "1", ")"),
        ("-(not ", "1", ")"),
    ] {
        let template = |n| format!("{{{{ 0 and {} }}}}", nest(open, inner, close, n));
        let most = (1..=MAX_NESTING)
            .rev()
            .find(|n| Template::parse(&template(*n)).is_ok());
        let most = most.unwrap_or_else(|| panic!("{open}"));
        assert!(most >= MAX_NESTING / 4, "{open}: {most}");
        assert_eq!(run(&template(most)).unwrap(), "0", "{open}");
        for more in [most + 1, 40_000 / open.len()] {
            assert!(run(&template(more)).is_err(), "{open}: {more}");
        }
    }
    for (open, close) in [
        ("{% if 1 %}", "{% endif %}"),
        ("{% for a in [1] %}", "{% endfor %}"),
        ("{% with %}", "{% endwith %}"),
        ("{% if 0 %}{% else %}", "{% endif %}"),
        ("{% filter upper %}", "{% endfilter %}"),
        ("{% generation %}", "{% endgeneration %}"),
        ("{% block a %}", "{% endblock %}"),
        ("{% set a %}", "{% endset %}"),
        ("{% macro f() %}", "{% endmacro %}"),
    ] {
        // A tag's own expression is some levels more.
        assert!(
            run(&nest(open, "x", close, MAX_NESTING - 2)).is_ok(),
            "{open}"
        );
        limited(&nest(open, "x", close, MAX_NESTING + 1));
        limited(&open.repeat(9_000));
    }
}

/// Long sequences, of which real templates have many, are not nesting.
#[test]
fn chains_of_any_length_take_no_stack() {
    for link in [
        "1 + ",
        "1 - ",
        "'a' ~ ",
        "1 * ",
        "1 and ",
        "0 or ",
        "1 if 0 else ",
        "1 == ",
        "'a' in ",
        "'a' ",
    ] {
        let source = format!("{{{{ {}'a' }}}}", link.repeat(40_000 / link.len()));
        let ended = run(&source);
        assert!(ended.is_ok() || link.len() == 4, "{link}: {ended:?}");
    }
    for link in ["|string", "|d(1)", ".a", "[0]", "[:]", "()", ".upper()"] {
        let ended = run(&format!(
            "{{{{ 'a'{} }}}}",
            link.repeat(40_000 / link.len())
        ));
        assert!(
            !matches!(
                ended,
                Err(Error {
                    fault: Fault::Limit(_),
                    ..
                })
            ),
            "{link}: {ended:?}"
        );
    }
    let elifs = format!(
        "{{% if 0 %}}{}{{% else %}}x{{% endif %}}",
        "{% elif 0 %}y".repeat(10_000)
    );
    assert_eq!(run(&elifs).unwrap(), "x");
}

#[test]
fn a_source_that_is_too_large_is_refused_before_it_is_read() {
    limited(&"x".repeat(limits::MAX_SOURCE_BYTES + 1));
    assert_eq!(
        run(&"x".repeat(limits::MAX_SOURCE_BYTES)).unwrap().len(),
        limits::MAX_SOURCE_BYTES
    );
    for cut in [
        "{{",
        "{%",
        "{#",
        "{% raw %}{%",
        "{{ '",
        "{{ \"\\",
        "{{ 1e",
        "{{ 1.",
        "{{ 0x",
        "{% if",
        "{{ '\\u12",
        "{",
    ] {
        let _ = run(&cut.repeat(20_000));
        let _ = run(cut);
    }
}

/// Numbers that are none have no order; sorting them must not fail or spin.
#[test]
fn what_has_no_order_is_sorted_somehow() {
    let nan = "{% set n = 1e308 * 10 - 1e308 * 10 %}{{ [n, 1, n, 0, 2, n, 5] | sort | length }}{{ n | int }}";
    assert_eq!(run(nan).unwrap(), "70");
    fails("{{ [1, 'a'] | sort }}", "order");
}
